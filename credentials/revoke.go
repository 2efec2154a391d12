package credentials

import (
	"context"
	"net/http"
	"net/url"
)

// Revoke tells the server at to, a revocation endpoint, that t is to be of no use
// any more (RFC 7009): its refresh token, and with it what came of that, or else
// its access token. A token that the server does not know is no error.
func (e *Endpoint) Revoke(ctx context.Context, to string, t Token) error {
	form := url.Values{"token": {t.Refresh.reveal()}, "token_type_hint": {"refresh_token"}}
	if t.Refresh.IsZero() {
		form = url.Values{"token": {t.Access.reveal()}, "token_type_hint": {"access_token"}}
	}
	got, err := e.send(ctx, to, form)
	if err != nil {
		return err
	}
	if got.status != http.StatusOK {
		return refused(e.Name, got, parse(got.header.Get("Content-Type"), got.body).text("error"))
	}
	return nil
}
