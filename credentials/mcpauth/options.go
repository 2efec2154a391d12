package mcpauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// Options say how to sign in to one MCP server.
type Options struct {
	Name    string // of the upstream, for errors, and in the ids of what is stored
	Subject string // the principal; "" where all share one
	Server  string // URL of the MCP endpoint: https, or http on this machine
	// Client fetches what strangers name: metadata, registrations, tokens. It
	// must refuse addresses that they are not to reach. Of it the Transport is
	// used only.
	Client *http.Client
	// Store keeps tokens and registrations; nil if they need not outlive the
	// process.
	Store credentials.Store

	// Issuer is the one authorization server to take; "" is the one that the
	// server names.
	Issuer string
	// Resource is the resource indicator where the server's metadata have another
	// than its URL; "" is that URL.
	Resource string
	// Scopes are asked for instead of those that the server names; more only when
	// it says that they are missing.
	Scopes []string
	// Accept are scopes that may be granted though nobody asked; see
	// [credentials.Endpoint].
	Accept []string

	// ClientID is the client that the operator has registered; "" if there is
	// none. It belongs to Issuer, or else to the first issuer that it is used with.
	ClientID     string
	ClientSecret credentials.Secret // zero for a public client
	// DocumentURL is a client id for servers that take the URL of a document for
	// one: https with a path. The document there must allow Redirect.
	DocumentURL string
	// Redirect is where the browser comes back to: "" is a path on this machine,
	// at any port. With a port it is that one only.
	Redirect string

	// Report is told what nobody may be waiting for; see [credentials.SourceSpec].
	Report func(error)
}

const defaultRedirect = "http://127.0.0.1/callback"

func (o *Options) check() error {
	if _, err := address(o.Server, true); err != nil {
		return fmt.Errorf("the server's URL: %w", err)
	}
	if o.Client == nil {
		return errors.New("there is no HTTP client to ask with")
	}
	if o.Issuer != "" {
		if _, err := address(o.Issuer, true); err != nil {
			return fmt.Errorf("the issuer: %w", err)
		}
	}
	if o.DocumentURL != "" {
		u, err := address(o.DocumentURL, false)
		if err != nil {
			return fmt.Errorf("the URL of the client's document: %w", err)
		}
		if u.Path == "" || u.Path == "/" {
			return errors.New("the URL of the client's document must have a path")
		}
	}
	if o.ClientID == "" && !o.ClientSecret.IsZero() {
		return errors.New("a client secret without a client id")
	}
	if !sound(o.Scopes) {
		return fmt.Errorf("scopes must be words of printable ASCII, %d at most", maxScopes)
	}
	if o.Redirect != "" {
		if _, err := address(o.Redirect, true); err != nil {
			return fmt.Errorf("the redirect: %w", err)
		}
	}
	return nil
}

// resource is the resource indicator where no metadata name one: in the form
// that MCP recommends, without a slash at the end.
func (o *Options) resource(server *url.URL) string {
	if o.Resource != "" {
		return o.Resource
	}
	return canonical(server)
}
