package credentials_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// saying is a transport whose every answer has this text, everywhere.
type saying struct {
	say  func(sent string) string
	body func(io.Reader) io.Reader
}

func (s *saying) RoundTrip(req *http.Request) (*http.Response, error) {
	text := s.say(req.Header.Get("Authorization") + req.Header.Get("X-Api-Key"))
	if req.URL.Path == "/broken" {
		return nil, fmt.Errorf("malformed answer %q", text)
	}
	var body io.Reader = strings.NewReader(text)
	if s.body != nil {
		body = s.body(body)
	}
	return &http.Response{StatusCode: 200, Status: "200 " + text, Header: http.Header{"X-Echo": {text}, "Content-Length": {fmt.Sprint(len(text))}},
		Body: io.NopCloser(body), ContentLength: int64(len(text)), Request: req}, nil
}

const said = "s3cret/of+20&more:ch4rs"

// spellings are how a server may write what it was sent.
func spellings(secret string) map[string]string {
	pair := base64.StdEncoding.EncodeToString([]byte("me:" + secret))
	all := map[string]string{
		"as it is": secret, "twice": secret + secret, "quoted": fmt.Sprintf(`{"token":%q}`, secret), "in a URL": url.QueryEscape(secret),
		"hex": hex.EncodeToString([]byte(secret)), "pair": pair, "HTML-safe JSON": strings.ReplaceAll(secret, "&", `\u0026`),
	}
	for i := range 3 {
		text := []byte(strings.Repeat("x", i) + secret + strings.Repeat("y", i))
		all[fmt.Sprint("base64 ", i)], all[fmt.Sprint("base64url ", i)] = base64.StdEncoding.EncodeToString(text), base64.RawURLEncoding.EncodeToString(text)
	}
	return all
}

// A server repeats the credential that it was sent: in the body, a field, the
// status or what breaks the transport. Nobody above hears of it, and nothing else
// changes, not even a length.
func TestAnswersDoNotRepeatTheCredential(t *testing.T) {
	s := credentials.NewSecret
	tokens := &fixed{[]string{"first-token-of-20-chars", said}}
	for name, attach := range map[string]credentials.Attachment{
		"bearer": credentials.Bearer(s(said)), "header": credentials.Header("X-Api-Key", s(said)), "basic": credentials.Basic("me", s(said)), "token": credentials.BearerFrom(tokens),
	} {
		below := &saying{}
		client := grant(t, credentials.Spec{Origins: []string{"https://a.example"}, Attach: attach}).Client(below)
		ask := func(path string) (string, error) {
			resp, err := client.Get("https://a.example" + path)
			if err != nil {
				return "", err
			}
			data, err := io.ReadAll(resp.Body)
			return resp.Status + "\n" + resp.Header.Get("X-Echo") + "\n" + string(data), err
		}
		if name == "token" { // another before
			below.say = func(string) string { return "first-token-of-20-chars" }
			if got, err := ask("/"); err != nil || strings.Contains(got, "first") {
				t.Errorf("%q %v", got, err)
			}
			tokens.tokens = tokens.tokens[1:]
		}
		for spelling, text := range spellings(said) {
			below.say = func(string) string { return "<" + text + ">" }
			got, err := ask("/")
			if err != nil || strings.Count(got, "<") != 3 || len(got) != 4+2+3*(len(text)+2) {
				t.Errorf("%s, %s: %q %v", name, spelling, got, err)
			}
			for line := range strings.SplitSeq(got, "\n") {
				mustBeBlank(t, name+", "+spelling, line, text)
			}
			if _, err := ask("/broken"); err == nil || strings.Contains(err.Error(), text[4:len(text)-4]) {
				t.Errorf("%s, %s: %v", name, spelling, err)
			}
		}
		for _, other := range []string{"", "s3cret", "ordinary text that is rather long", `{"a":1}`, said[:len(said)-1]} {
			below.say = func(string) string { return other }
			if got, err := ask("/"); err != nil || got != "200 "+other+"\n"+other+"\n"+other {
				t.Errorf("%s: %q became %q, %v", name, other, got, err)
			}
		}
	}
}

// mustBeBlank fails the test if more than the edges of text are in line.
func mustBeBlank(t *testing.T, what, line, text string) {
	t.Helper()
	const fragment = 12
	for i := range len(text) - fragment {
		if strings.Contains(line, text[i:i+fragment]) {
			t.Errorf("%s: %q has %q", what, line, text[i:i+fragment])
			return
		}
	}
}

// However the network cuts an answer.
func TestScrubbedInPieces(t *testing.T) {
	text := strings.Repeat("s3cret/of+20&more:ch4r ", 3) + said + "s3c" + said[:9] + said + strings.Repeat("x", 700) + said
	want := strings.ReplaceAll(text, said, strings.Repeat("*", len(said)))
	for name, body := range map[string]func(io.Reader) io.Reader{
		"whole": nil, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
	} {
		for _, size := range []int{1, 2, 7, 64, 4096} {
			below := &saying{say: func(string) string { return text }, body: body}
			client := grant(t, credentials.Spec{Origins: []string{"https://a.example"}, Attach: credentials.Bearer(credentials.NewSecret(said))}).Client(below)
			resp, err := client.Get("https://a.example/")
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			_, err = io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{resp.Body}, make([]byte, size))
			if err != nil || got.String() != want {
				t.Errorf("%s, %d: %v %q", name, size, err, got.String())
			}
		}
	}
}

// What breaks off is handed out as far as it came, and with its error.
func TestScrubbedBreaksOff(t *testing.T) {
	below := &saying{say: func(string) string { return "text " + said[:7] }, body: func(r io.Reader) io.Reader {
		return io.MultiReader(r, iotest.ErrReader(io.ErrUnexpectedEOF))
	}}
	client := grant(t, credentials.Spec{Origins: []string{"https://a.example"}, Attach: credentials.Bearer(credentials.NewSecret(said))}).Client(below)
	resp, err := client.Get("https://a.example/")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(resp.Body); string(data) != "text "+said[:7] || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q %v", data, err)
	}
}

// An event is handed out when it comes, not when the next one does.
func TestScrubbedStreamsDoNotWait(t *testing.T) {
	next := make(chan bool)
	srv := serve(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", r.Header.Get("Authorization"))
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	client := grant(t, credentials.Spec{Origins: []string{srv.URL}, Attach: credentials.Bearer(credentials.NewSecret(said))}).Client(nil)
	defer client.CloseIdleConnections()
	resp, err := client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	want := "data: Bearer " + strings.Repeat("*", len(said)) + "\n\n"
	for range 3 {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("%q %v", got, err)
		}
		next <- true
	}
}

// plainly is a transport that answers with this text.
type plainly string

func (p plainly) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(p)))}, nil
}

// What it costs to look through an answer, beside reading it.
func BenchmarkScrubbed(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		text := strings.Repeat(`{"id":12345,"name":"A name","tags":["x","y"]},`, size/46)
		for name, attach := range map[string]credentials.Attachment{"none": credentials.None(), "token": credentials.Bearer(credentials.NewSecret(rand.Text() + strings.Repeat("aB3", 290) + rand.Text()))} {
			g, err := credentials.NewGrant(credentials.Spec{Name: "crm", Origins: []string{"https://a.example"}, Attach: attach})
			if err != nil {
				b.Fatal(err)
			}
			client := g.Client(plainly(text))
			req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://a.example/", nil)
			b.Run(fmt.Sprint(name, size), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					resp, err := client.Transport.RoundTrip(req)
					if err != nil {
						b.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, struct{ io.Reader }{resp.Body})
				}
			})
		}
	}
}
