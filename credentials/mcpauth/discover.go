package mcpauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// Plan is what is known about the way to a token.
type Plan struct {
	Resource string // sent as the resource indicator (RFC 8707)
	// Supported are the scopes that the server says it has; nil if it does not
	// say.
	Supported []string
	Server    Server
}

// Server is an authorization server that has named itself rightly (RFC 8414,
// section 3.3), whose endpoints are https, or http where the MCP server is on this
// machine too, and which has PKCE with S256.
type Server struct {
	Issuer       string
	AuthorizeURL string
	TokenURL     string
	RegisterURL  string   // "" if nobody can register there (RFC 7591)
	RevokeURL    string   // "" if tokens cannot be given back (RFC 7009)
	IssuerSent   bool     // its answers say whom they are from (RFC 9207)
	Documents    bool     // it takes the URL of a document for a client id
	Methods      []string // token_endpoint_auth_methods_supported, or its default
	Scopes       []string
	// Elsewhere are the origins of endpoints that are not at the issuer's own.
	// That is allowed, and common; it is also what a stranger would write there.
	Elsewhere []string
}

const (
	maxServers = 4 // that are tried of those that an MCP server names
	maxListed  = 512
)

// discovery is one search.
type discovery struct {
	fetcher
	server *url.URL
	opt    *Options
	notes  *notes
}

func newDiscovery(opt *Options) (*discovery, error) {
	if err := opt.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Name, err)
	}
	u, err := url.Parse(opt.Server)
	return &discovery{fetcher{opt.Name, opt.Client}, u, opt, &notes{store: opt.Store, report: opt.Report}}, err
}

// local reports whether http may be spoken: what is on this machine is reached
// for what is on this machine, never for a stranger.
func (d *discovery) local() bool {
	pinned, err := url.Parse(d.opt.Issuer)
	return onThisMachine(d.server.Hostname()) || err == nil && onThisMachine(pinned.Hostname())
}

// Discover finds the way to a token of opt.Server. challenge is what the server
// has said, if anything; prefer is the issuer to take if the server names
// several, "" for the first that is of use. The error is a
// *[credentials.TokenError], but for options that make no sense.
func Discover(ctx context.Context, opt Options, challenge Challenge, prefer string) (Plan, error) {
	d, err := newDiscovery(&opt)
	if err != nil {
		return Plan{}, err
	}
	return d.plan(ctx, challenge, prefer)
}

func (d *discovery) plan(ctx context.Context, challenge Challenge, prefer string) (Plan, error) {
	res, err := d.resource(ctx, challenge)
	if err != nil {
		return Plan{}, d.misconfigured(err)
	}
	issuers, err := d.issuers(res, prefer)
	if err != nil {
		return Plan{}, d.misconfigured(err)
	}
	var fault error
	for _, issuer := range issuers {
		s, err := d.authority(ctx, issuer)
		if err == nil {
			return Plan{Resource: res.id, Supported: res.scopes, Server: s}, nil
		}
		if _, transient := errors.AsType[*credentials.TokenError](err); transient {
			return Plan{}, err // the next one is another issuer, with which nobody has signed in
		}
		if err = fmt.Errorf("the authorization server %.200q: %w", issuer, err); fault != nil {
			err = fmt.Errorf("%w; %w", fault, err)
		}
		fault = err
	}
	return Plan{}, d.misconfigured(fault)
}

// misconfigured makes err a TokenError of that class, unless it is one.
func (d *discovery) misconfigured(err error) error {
	if e, ok := errors.AsType[*credentials.TokenError](err); ok {
		return e
	}
	return d.trouble(credentials.Misconfigured, err)
}

// resource is a server's metadata (RFC 9728, section 2), as far as we need them.
type resource struct {
	id      string
	servers []string
	scopes  []string
}

const resourcePath = "/.well-known/oauth-protected-resource"

// resource finds the server's metadata: where the challenge says, if that is at
// the server's own origin, or else below its own path, or else at the root. A
// server of revision 2025-03-26 has none and is its own authorization server.
func (d *discovery) resource(ctx context.Context, challenge Challenge) (resource, error) {
	origin := originOf(d.server)
	root := origin + resourcePath
	urls := []string{root}
	if path := strings.TrimSuffix(d.server.EscapedPath(), "/"); path != "" {
		urls = []string{root + path, root}
	}
	if u, err := address(challenge.Metadata, true); err == nil && originOf(u) == origin {
		urls = []string{u.String()}
	}
	res, err := anyOf(urls, func(from string) (resource, error) {
		object, err := d.get(ctx, from)
		if err != nil {
			return resource{}, err
		}
		return d.readResource(object, from == root)
	})
	switch {
	case errors.Is(err, errAbsent) && d.opt.Issuer != "":
		return resource{id: d.opt.resource(d.server), servers: []string{d.opt.Issuer}}, nil
	case errors.Is(err, errAbsent) && challenge.Metadata == "":
		return resource{id: d.opt.resource(d.server), servers: []string{origin}}, nil
	case err != nil:
		return res, fmt.Errorf("where to sign in: %w", err)
	}
	return res, nil
}

// readResource checks that the metadata are those of our server: its URL is what
// they are about (RFC 9728, section 3.3), or, at the root, its origin.
func (d *discovery) readResource(object []byte, root bool) (resource, error) {
	res := resource{id: text(object, "resource")}
	u, err := url.Parse(res.id)
	if err != nil || res.id == "" || strings.Contains(res.id, "#") {
		return resource{}, errors.New("the server's metadata do not say which server they are about")
	}
	switch id := canonical(u); {
	case d.opt.Resource != "" && res.id == d.opt.Resource:
	case d.opt.Resource == "" && (id == canonical(d.server) || root && id == originOf(d.server)):
	default:
		return resource{}, fmt.Errorf("the server's metadata are about another one: %.200q instead of %.200q; set the resource if that is right",
			res.id, d.opt.resource(d.server))
	}
	if res.servers, _ = list(object, "authorization_servers", maxListed); len(res.servers) == 0 {
		return resource{}, errors.New("the server's metadata name no authorization server")
	}
	if scopes, _ := list(object, "scopes_supported", maxScopes); sound(scopes) {
		res.scopes = union(scopes)
	}
	return res, nil
}

// issuers returns which servers to try, in this order.
func (d *discovery) issuers(res resource, prefer string) ([]string, error) {
	if pinned := d.opt.Issuer; pinned != "" {
		if !slices.Contains(res.servers, pinned) {
			return nil, fmt.Errorf("the server takes no tokens of the issuer that is configured, %s, but of %.300q", pinned, res.servers[:min(len(res.servers), maxServers)])
		}
		return []string{pinned}, nil
	}
	servers := res.servers
	if slices.Contains(servers, prefer) {
		servers = []string{prefer}
	}
	return servers[:min(len(servers), maxServers)], nil
}

// wellKnown returns where an issuer's metadata may be, in the order that MCP
// fixes (2026-07-28, authorization server discovery).
func wellKnown(issuer *url.URL) []string {
	origin, path := issuer.Scheme+"://"+issuer.Host, strings.TrimSuffix(issuer.EscapedPath(), "/")
	urls := []string{origin + "/.well-known/oauth-authorization-server" + path, origin + "/.well-known/openid-configuration" + path}
	if path != "" {
		urls = append(urls, origin+path+"/.well-known/openid-configuration")
	}
	return urls
}

func (d *discovery) authority(ctx context.Context, issuer string) (Server, error) {
	u, err := address(issuer, d.local())
	if err != nil {
		return Server{}, err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return Server{}, errors.New("an issuer has no query") // RFC 8414, section 2
	}
	return anyOf(wellKnown(u), func(from string) (Server, error) {
		object, err := d.get(ctx, from)
		if err != nil {
			return Server{}, err
		}
		return d.readServer(object, issuer, u)
	})
}

func (d *discovery) readServer(object []byte, issuer string, at *url.URL) (Server, error) {
	s := Server{
		Issuer: text(object, "issuer"), AuthorizeURL: text(object, "authorization_endpoint"),
		TokenURL: text(object, "token_endpoint"), RegisterURL: text(object, "registration_endpoint"),
		RevokeURL:  text(object, "revocation_endpoint"),
		IssuerSent: flag(object, "authorization_response_iss_parameter_supported"),
		Documents:  flag(object, "client_id_metadata_document_supported"),
	}
	if s.Issuer != issuer { // byte for byte: RFC 8414, section 3.3
		return Server{}, fmt.Errorf("its metadata are of another issuer, %.200q", s.Issuer)
	}
	for _, endpoint := range []struct {
		url, name string
		needed    bool
	}{{s.AuthorizeURL, "authorization_endpoint", true}, {s.TokenURL, "token_endpoint", true}, {s.RegisterURL, "registration_endpoint", false}, {s.RevokeURL, "revocation_endpoint", false}} {
		if endpoint.url == "" && !endpoint.needed {
			continue
		}
		u, err := address(endpoint.url, d.local())
		if err != nil {
			return Server{}, fmt.Errorf("its %s: %w", endpoint.name, err)
		}
		if o := originOf(u); o != originOf(at) {
			s.Elsewhere = union(s.Elsewhere, []string{o})
		}
	}
	if methods, _ := list(object, "code_challenge_methods_supported", maxListed); !slices.Contains(methods, "S256") {
		return Server{}, errors.New("it does not say that it has PKCE with S256, without which a code can be stolen")
	}
	methods, there := list(object, "token_endpoint_auth_methods_supported", maxListed)
	if s.Methods = methods; !there {
		s.Methods = []string{"client_secret_basic"} // RFC 8414, section 2
	}
	s.Scopes, _ = list(object, "scopes_supported", maxListed)
	return s, nil
}

// probe asks the server for something without a token, to hear its challenge.
// One that answers has none.
func (d *discovery) probe(ctx context.Context) (Challenge, error) {
	const question = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{` +
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},` +
		`"io.modelcontextprotocol/clientInfo":{"name":"bulkhead","version":"0"}}}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.opt.Server, strings.NewReader(question))
	if err != nil {
		return Challenge{}, d.misconfigured(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("MCP-Protocol-Version", "2026-07-28")
	req.Header.Set("Mcp-Method", "tools/list")
	var challenge Challenge
	err = d.send(req, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusUnauthorized {
			challenge, _ = ParseChallenge(resp.Header.Values("WWW-Authenticate"))
		}
		return nil
	})
	return challenge, err
}

// FindServer finds an authorization server by its issuer, for name, which is for
// errors. As in discovery, what it says of itself counts only if it names itself
// rightly. client must refuse addresses that are not to be reached. The error is a
// *[credentials.TokenError].
func FindServer(ctx context.Context, client *http.Client, name, issuer string) (Server, error) {
	at, err := url.Parse(issuer)
	if err != nil {
		return Server{}, &credentials.TokenError{Name: name, Trouble: credentials.Misconfigured, Err: errors.New("the issuer is no URL")}
	}
	d := &discovery{fetcher{name, client}, at, &Options{Issuer: issuer}, &notes{}}
	s, err := d.authority(ctx, issuer)
	if err != nil {
		return Server{}, d.misconfigured(err)
	}
	return s, nil
}
