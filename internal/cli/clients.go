package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/bulkhead-mcp/bulkhead/aggregate/inbound"
	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/internal/bearer"
	"github.com/bulkhead-mcp/bulkhead/internal/config"
	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

// leastToken is how short a user's token may be in bytes.
const leastToken = 20

// door is how clients over HTTP come in. The zero value is for those over stdio.
type door struct {
	hosts, origins []string
	auth           *inbound.Auth // nil lets local processes in
	tokens         *bearer.JWT   // nil if no authorization server is trusted
}

// openDoor fetches what is needed to know clients. here is the address at which
// they are served, for want of a public one.
func openDoor(ctx context.Context, s config.Server, here string) (door, error) {
	d := door{hosts: s.Hosts, origins: s.Origins}
	at := here
	if s.PublicURL != "" {
		u, err := url.Parse(s.PublicURL)
		if err != nil {
			return door{}, errors.New("server.public_url cannot be read")
		}
		// Pages of ours are at that origin.
		d.hosts, d.origins = append(slices.Clone(s.Hosts), u.Host), append(slices.Clone(s.Origins), s.PublicURL)
		at = s.PublicURL
	}
	switch s.Auth.Type {
	case "oidc":
		guard, err := guardOf(s.Auth)
		if err != nil {
			return door{}, err
		}
		d.tokens, err = bearer.NewJWT(bearer.Options{
			Issuer: s.Auth.Issuer, Audience: s.Auth.Audience, Scopes: s.Auth.Scopes, Subject: s.Auth.Subject,
			AnyType: s.Auth.TokenType == "jwt", Client: &http.Client{Transport: guard},
		})
		if err != nil {
			return door{}, err
		}
		d.auth = &inbound.Auth{Authenticate: d.tokens.Authenticate, URL: at, Servers: []string{s.Auth.Issuer}, Scopes: s.Auth.Scopes}
	case "tokens":
		users, err := known(ctx, s.Auth.Users)
		if err != nil {
			return door{}, err
		}
		d.auth = &inbound.Auth{Authenticate: users.Authenticate, URL: at}
	}
	return d, nil
}

// guardOf lets the issuer itself be asked, wherever it is: the operator has
// named it.
func guardOf(a config.Clients) (*egress.Guard, error) {
	issuer, err := url.Parse(a.Issuer)
	if err != nil {
		return nil, errors.New("server.auth.issuer cannot be read")
	}
	guard, err := egress.NewGuard(egress.Options{Allow: append([]string{issuer.Host}, a.AllowHosts...)})
	if err != nil {
		return nil, fmt.Errorf("server.auth.allow_hosts: %w", err)
	}
	return guard, nil
}

// known fetches the users' tokens, and keeps their hashes only.
func known(ctx context.Context, users map[string]*config.User) (*bearer.Static, error) {
	sums := make(map[string][sha256.Size]byte, len(users))
	for _, name := range slices.Sorted(maps.Keys(users)) {
		at := "server.auth.users." + name + ".token"
		token, err := credentials.Resolve(ctx, ref(users[name].Token))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		sum, length := token.Digest()
		if length < leastToken {
			return nil, &hintError{fmt.Errorf("%s has %d characters: it could be guessed", at, length), "openssl rand -hex 32 makes a good one"}
		}
		sums[name] = sum
	}
	static, err := bearer.NewStatic(sums)
	if err != nil {
		return nil, &hintError{fmt.Errorf("server.auth.users: %w", err), "give each user a token of its own"}
	}
	return static, nil
}

// look asks the issuer for its keys before the first client comes.
func (d door) look(ctx context.Context, log *slog.Logger) {
	if err := d.ready(ctx); err != nil && ctx.Err() == nil {
		log.Warn("clients cannot be authenticated yet", "error", err)
	}
}

// ready returns why clients cannot be told from each other now.
func (d door) ready(ctx context.Context) error {
	if d.tokens == nil {
		return nil
	}
	return d.tokens.Ready(ctx)
}

func (d door) close() {
	if d.tokens != nil {
		d.tokens.Close()
	}
}

// checkDoor reports whether clients could be authenticated: each user's token is
// there, or the issuer has keys.
func checkDoor(ctx context.Context, s config.Server, limit time.Duration) error {
	d, err := openDoor(ctx, s, "http://"+s.Listen)
	if err != nil {
		return err
	}
	defer d.close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := d.ready(ctx); err != nil {
		return &hintError{fmt.Errorf("server.auth: %w", err),
			"the issuer must be written exactly as in its metadata, and reachable from here; on a private network allow_hosts lets its other hosts be asked"}
	}
	return nil
}
