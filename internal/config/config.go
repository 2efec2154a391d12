// Package config reads Bulkhead's configuration: one TOML file and the
// BULKHEAD_ environment variables over it, decoded strictly into one [Config].
//
// It owns the keys: their names, types, defaults, rules and documentation stand
// in one table, from which decoding, docs/config.md and docs/config.schema.json
// are all made. Everything wrong with a configuration is reported at once, as
// [Faults].
//
// It must not know what the values are for: it imports no package of ours,
// reads no environment but the one it is given, and never resolves a secret. A
// reference to a secret is checked for its form only, so that one that cannot
// be resolved costs its own upstream and not the whole server.
package config

import "time"

//go:generate go run ./gen

// Config is a complete, valid configuration. It is not changed after [Load].
type Config struct {
	Server    Server
	Upstreams []Upstream // sorted by name; the disabled ones too
	Path      string     // the file it came from
}

// Server is the [server] table: the side that clients see.
type Server struct {
	Listen    string // "" is stdio; otherwise host:port, of loopback if clients are not authenticated
	Metrics   string // where metrics are served, host:port; "" is nowhere
	PublicURL string // origin at which clients reach us; "" is Listen
	Auth      Clients
	Names     string // "prefix" or "flat"
	Deadline  Deadline
	MaxResult int64 // bytes of one result given to the client
	PageSize  int   // entries of one page of a list; 0 is one page
	// ListBudget is how many tools are listed at most; 0 is all.
	ListBudget int
	Discovery  string        // "auto", "list" or "search"
	Pinned     []string      // patterns of tools that are listed in any case
	AskTimeout time.Duration // how long a question may stay open
	ListWait   time.Duration // how long a cold start's first list waits
	Hosts      []string      // Host header values accepted beside loopback's
	Origins    []string      // browser origins accepted, scheme://host[:port]
	State      string        // absolute directory; "" is the user's own; "none" keeps nothing
	TokenKey   *Ref          // seals stored tokens; nil is a key that is made
	LogLevel   string        // "debug", "info", "warn" or "error"
	LogFormat  string        // "text" or "json"
	Drain      time.Duration // grace for calls in flight at shutdown
	CacheSize  int64         // bytes of answers that are kept
}

// Deadline is how long a call may take in all.
type Deadline struct {
	Auto  bool          // follow what the connected host is known to wait
	Limit time.Duration // if not Auto; more than 0
}

// Upstream is one [upstream.NAME] table: a data source. Of an MCP server exactly
// one of Command, URL and Sandbox is set.
type Upstream struct {
	Name       string
	Kind       string              // "mcp", "rest", "openapi", "graphql" or "sql"
	Command    []string            // program and arguments; no shell
	URL        string              // http or https
	Sandbox    string              // a built-in sample source
	Latency    time.Duration       // sandbox only: added to each answer
	Env        map[string]EnvValue // for Command, on top of the sealed environment
	Dir        string              // absolute working directory for Command; "" is ours
	AllowHTTP  bool                // URL may be plain http beyond loopback
	Prefix     *string             // of tool names; nil is the name, "" is none
	Era        string              // "auto", "legacy" or "modern"
	Timeout    time.Duration       // of one attempt; 0 is none but the deadline
	MaxMessage int64               // bytes of one message taken from it
	Validate   string              // "structure" or "schema"
	// Annotations is "relay", or "cautious" to take away what its tools claim in
	// their favour.
	Annotations string
	Ask         string // "allow" or "deny": whether it may ask the client in mid-call
	Required    bool   // check fails without it
	Enabled     bool
	Auth        Auth
	Tools       ToolFilter
	Limit       Limit
	Retry       Retry
	Breaker     Breaker
	Cache       Cache
	Writes      string // "serial", "parallel" or "deny"
	Unannotated string // "parallel" or "serial": tools that do not say whether they write
	SerializeBy string // argument by which writes are told apart; "" is none
	// TrustAnnotations takes the upstream's word for what may be repeated.
	TrustAnnotations bool

	// What kinds other than "mcp" have besides.
	REST    REST
	OpenAPI OpenAPI
	GraphQL GraphQL
	SQL     SQL
}

// EnvValue is an environment variable's value: a literal, or a reference if Ref
// is not nil.
type EnvValue struct {
	Literal string
	Ref     *Ref
}

// Ref says where a secret is kept. Exactly one field is set.
type Ref struct {
	Env     string   // name of an environment variable
	File    string   // absolute path
	Command []string // prints it
	Keyring string   // "service/account"
}

// ToolFilter chooses among an upstream's own tool names by path.Match patterns.
// A tool is offered if Allow matches and Deny does not.
type ToolFilter struct {
	Allow    []string
	Deny     []string
	Override map[string]*Override // by the tool's own name; nil for none
}

// Override is what one tool is said to do and to cost, and what is shown of it.
type Override struct {
	Hints
	Cost   int      // tokens of limit.rate for a call; 0 is not set, which means 1
	Scopes []string // of the token for its calls; nil is what the upstream's auth says
	Hedge  bool     // whether it may be asked twice at once
	// Requires names the tools whose output it needs.
	Requires []string
	TTL      *time.Duration // of its answers; nil is that of the upstream
	Shape    Shape
}

// Shape is what is shown of one tool's results; the zero value is all of it.
type Shape struct {
	JQ       string   // a program; "" is none
	RowsAt   *string  // a JSON pointer to the records; nil finds them
	Fields   []string // of a record that are kept; nil is all
	MaxRows  int      // records at once; 0 is all
	MaxBytes int64    // of a result; 0 is server.max_result
}

// Hints is what one tool is said to do, in MCP's words (schema,
// ToolAnnotations). nil leaves what the upstream says.
type Hints struct {
	ReadOnly, Destructive, Idempotent, OpenWorld *bool
}

// Limit is what an upstream is asked at most.
type Limit struct {
	Concurrency int           // calls at once
	Queue       int           // calls that wait for one of these places
	QueueWait   time.Duration // for a place
	Rate        Rate
	Burst       int               // calls at once after a pause; 1 or more where there is a rate
	Per         string            // "upstream", "user" or "credential": whose calls the rate counts
	Classes     map[string]*Class // tools that are counted apart besides, by the class's name; nil for none
}

// Class is tools that are counted apart.
type Class struct {
	Tools []string // patterns like those of [ToolFilter]
	Rate  Rate
	Burst int // 1 or more
}

// Rate is how many calls are allowed in any time of this length; the zero value
// is any number.
type Rate struct {
	Count int
	Time  time.Duration
}

// Refill returns how many calls a second come in again once the burst is used
// up: so many that burst and refill together never exceed the rate. 0 if there is
// none.
func (l Limit) Refill() float64 { return l.Rate.refill(l.Burst) }

// Refill is [Limit.Refill] of a class.
func (c Class) Refill() float64 { return c.Rate.refill(c.Burst) }

func (r Rate) refill(burst int) float64 {
	if r.Count == 0 {
		return 0
	}
	return float64(r.Count-burst+1) / r.Time.Seconds()
}

// Retry is when a call is made again.
type Retry struct {
	Attempts int // in all
}

// Breaker is when an upstream is left alone.
type Breaker struct {
	Failures int // in a row
	CoolDown time.Duration
}

// Cache is what of an upstream's answers is kept.
type Cache struct {
	TTL   *time.Duration // nil is as long as the upstream says; 0 is not at all
	Stale time.Duration  // beyond TTL, for want of a newer one
}
