package inbound_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
)

var update = flag.Bool("update", false, "write what happens into the conversations of testdata")

// TestConversations plays testdata/*.txtar. A stdio section has lines that are
// sent ("> ") and the lines that are answered to each ("< "), in lock-step; the
// end must bring nothing more. In HTTP archives each NAME.request, like an
// HTTP message without Host and lengths, has its NAME.response: status, the
// headers that matter, and the body. $SESSION stands for the last session id
// and $BIG for 3000 bytes of "x".
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no conversations", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			comment, sections := parse(string(text))
			s := newServer(t, newFake(), inbound.Options{Title: "Bulkhead", MaxBody: 2500})
			got := comment
			if sections[0].name == "stdio" {
				got += section{"stdio", playStdio(t, s, sections[0].text)}.String()
			} else {
				for _, played := range playHTTP(t, s, sections) {
					got += played.String()
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// section is one file of a txtar archive.
type section struct{ name, text string }

func (s section) String() string { return "-- " + s.name + " --\n" + s.text }

func parse(archive string) (comment string, sections []section) {
	for line := range strings.Lines(archive) {
		name, ok := strings.CutPrefix(line, "-- ")
		if name, end := strings.CutSuffix(name, " --\n"); ok && end {
			sections = append(sections, section{name: name})
		} else if n := len(sections); n > 0 {
			sections[n-1].text += line
		} else {
			comment += line
		}
	}
	return comment, sections
}

var big = strings.Repeat("x", 3000)

func playStdio(t *testing.T, s *inbound.Server, script string) string {
	var out bytes.Buffer
	w := dial(t, s)
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "< "), line == "<":
			fmt.Fprintln(&out, "<", strings.ReplaceAll(w.recv(), big, "$BIG"))
		case strings.HasPrefix(line, "> "), line == ">":
			w.send(strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "), "$BIG", big))
			fallthrough
		default:
			fmt.Fprintln(&out, line)
		}
	}
	if rest, err := w.finish(); rest != "" || err != nil {
		t.Errorf("at the end: %v, unexpected %s", err, rest)
	}
	return out.String()
}

func playHTTP(t *testing.T, s *inbound.Server, files []section) (out []section) {
	w := serve(t, s)
	session := "none"
	for _, f := range files {
		name, ok := strings.CutSuffix(f.name, ".request")
		if !ok {
			continue
		}
		head, body, _ := strings.Cut(f.text, "\n\n")
		lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(head), "$SESSION", session), "\n")
		method, path, _ := strings.Cut(lines[0], " ")
		body = strings.ReplaceAll(strings.TrimSuffix(body, "\n"), "$BIG", big)
		a, err := w.do(context.Background(), method, path, body, lines[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		var resp bytes.Buffer
		fmt.Fprintln(&resp, a.status)
		for _, h := range []string{"Content-Type", "Allow", "Mcp-Session-Id"} {
			if v := a.header.Get(h); v != "" {
				if h == "Mcp-Session-Id" {
					session, v = v, "$SESSION"
				}
				fmt.Fprintf(&resp, "%s: %s\n", h, v)
			}
		}
		if a.body != "" {
			fmt.Fprintf(&resp, "\n%s\n", strings.ReplaceAll(a.body, big, "$BIG"))
		}
		out = append(out, f, section{name + ".response", resp.String()})
	}
	return out
}
