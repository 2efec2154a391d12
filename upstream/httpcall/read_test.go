package httpcall_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// What is read does not depend on what length was promised, only on the body and
// the limit.
func TestReadAll(t *testing.T) {
	const limit = 1000
	broken := errors.New("cut")
	for _, promised := range []int64{-1, 0, 1, 10, 999, 1000} {
		for _, length := range []int{0, 1, 10, 11, 999, 1000, 1001, 5000} {
			for name, body := range map[string]io.Reader{
				"whole": strings.NewReader(strings.Repeat("x", length)), "bytewise": iotest.OneByteReader(strings.NewReader(strings.Repeat("x", length))),
				"with its end": iotest.DataErrReader(strings.NewReader(strings.Repeat("x", length))), "broken": io.MultiReader(strings.NewReader(strings.Repeat("x", length)), iotest.ErrReader(broken)),
			} {
				got, err := httpcall.ReadAll(&http.Response{ContentLength: promised, Body: io.NopCloser(body)}, limit)
				e, _ := errors.AsType[*upstream.Error](err)
				switch {
				case length > limit:
					if e == nil || e.Kind != upstream.UpstreamError || !errors.Is(err, httpcall.ErrTooLong) {
						t.Errorf("%s, %d promised, %d came: %v", name, promised, length, err)
					}
				case name == "broken":
					if e == nil || e.Kind != upstream.Unavailable || !errors.Is(err, broken) {
						t.Errorf("%s, %d promised, %d came: %v", name, promised, length, err)
					}
				case err != nil || len(got) != length:
					t.Errorf("%s, %d promised, %d came: got %d, %v", name, promised, length, len(got), err)
				}
			}
		}
	}
	if _, err := httpcall.ReadAll(&http.Response{ContentLength: limit + 1, Body: io.NopCloser(iotest.ErrReader(errors.New("read")))}, limit); !errors.Is(err, httpcall.ErrTooLong) {
		t.Errorf("a body that is announced as too long: %v", err)
	}
}

// Long bodies come whole, whatever was promised, and are their reader's own: the next
// one does not change them.
func TestReadAllLong(t *testing.T) {
	const limit = 16 << 20
	var before, copied []byte
	for i, length := range []int{32<<10 - 1, 32 << 10, 32<<10 + 1, 100_000, 4 << 20, 4<<20 + 1, 4<<20 + 2, 9 << 20} {
		want := bytes.Repeat([]byte{'a' + byte(i), 'b', 'c'}, length/3+1)[:length]
		for _, promised := range []int64{-1, 1, int64(length), limit} {
			got, err := httpcall.ReadAll(&http.Response{ContentLength: promised, Body: io.NopCloser(iotest.HalfReader(bytes.NewReader(want)))}, limit)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d promised, %d came: got %d, %v", promised, length, len(got), err)
			}
			if !bytes.Equal(before, copied) {
				t.Errorf("%d promised, %d came: what was read before has changed", promised, length)
			}
			before, copied = got, bytes.Clone(got)
		}
	}
}
