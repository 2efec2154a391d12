package credentials

import (
	"context"
	"io"
)

// answered is the body of the answer to a request with a token. Who reads it may
// find that it refuses the token: some services say so in a 200.
type answered struct {
	io.ReadCloser
	source Source
	used   Token
}

// RefuseCredential says that the body refuses the token that its request was sent
// with, by which nothing was carried out. It waits until there is another one, and
// reports whether it is worth sending the request once more: with another token,
// or to be told why there is none.
func (a *answered) RefuseCredential(ctx context.Context) bool {
	a.source.Invalidate(a.used)
	other, err := a.source.Token(ctx)
	return err != nil || !other.Same(a.used)
}
