package httpcall_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// replaceable is the body of an answer to a request whose credential can be
// replaced, or not.
type replaceable struct {
	io.Reader
	another bool
	refused int
}

func (r *replaceable) Close() error { return nil }

func (r *replaceable) RefuseCredential(context.Context) bool {
	r.refused++
	return r.another
}

func TestRefuseCredential(t *testing.T) {
	for name, c := range map[string]struct {
		status         int
		another, again bool
		refused        int
	}{
		"another":     {200, true, true, 1},
		"no other":    {403, false, false, 1},
		"it is a 401": {401, true, false, 0},
	} {
		body := &replaceable{Reader: strings.NewReader("x"), another: c.another}
		hc := &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: c.status, Header: http.Header{}, Body: body}, nil
		})}
		ans, err := httpcall.Send(t.Context(), hc, 100, get("http://crm.invalid/"))
		if err != nil || string(ans.Body) != "x" {
			t.Fatal(ans, err)
		}
		if again := ans.RefuseCredential(t.Context()); again != c.again || body.refused != c.refused {
			t.Errorf("%s: again %v, refused %d times", name, again, body.refused)
		}
	}
	ans, err := httpcall.Send(t.Context(), &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("x"))}, nil
	})}, 100, get("http://crm.invalid/"))
	if err != nil || ans.RefuseCredential(t.Context()) {
		t.Error("a credential that cannot be replaced is to be sent again", err)
	}
}

// A call that ends because its adapter is closed has not been given up by anybody.
func TestClosedInMidCall(t *testing.T) {
	for _, sent := range []bool{false, true} {
		var calls httpcall.InFlight
		ctx, leave, ok := calls.Enter(t.Context())
		if !ok {
			t.Fatal("closed already")
		}
		hc := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			go calls.Close()
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
		if sent {
			hc.Transport = transport(func(*http.Request) (*http.Response, error) {
				go calls.Close()
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(until{ctx})}, nil
			})
		}
		_, err := httpcall.Send(ctx, hc, 100, get("http://crm.invalid/"))
		leave()
		wantError(t, err, upstream.Unavailable, sent)
		ended, _, ok := calls.Enter(t.Context())
		if e := httpcall.Ended(ended, false); ok || e.Kind != upstream.Unavailable {
			t.Errorf("after that: %v", e)
		}
	}
}

// until reads until a context ends.
type until struct{ ctx context.Context }

func (u until) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}
