package cli

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/config"
)

type flagFunc = func(*flag.FlagSet, *options)

func flagsOf(all ...flagFunc) flagFunc {
	return func(fs *flag.FlagSet, o *options) {
		for _, f := range all {
			f(fs, o)
		}
	}
}

func configFlags(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.config, "config", "", "configuration `FILE`")
	fs.BoolVar(&o.verbose, "verbose", false, "log on standard error as the configuration says, not errors only")
}

func listenFlag(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.listen, "listen", "", "serve HTTP on this `ADDRESS`, e.g. 127.0.0.1:8808, instead of stdio")
}

func jsonFlag(fs *flag.FlagSet, o *options) {
	fs.BoolVar(&o.json, "json", false, "print JSON")
}

func watchFlag(fs *flag.FlagSet, o *options) {
	fs.BoolVar(&o.watch, "watch", false, "print it again every second until interrupted")
}

func timeoutFlag(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.timeout, "timeout", "30s", "how long to wait for an upstream, as a `DURATION`")
}

func clientFlag(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.client, "client", "", "say all about one `HOST`, e.g. cursor or \"claude code\", instead of warnings for each that is known")
}

func deviceFlag(fs *flag.FlagSet, o *options) {
	fs.BoolVar(&o.device, "device", false, "sign in with a code, in a browser on any machine")
}

func userFlag(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.user, "user", "", "sign out a `USER` who signed in to an upstream with auth.per = \"user\", by what server.auth knows the user as")
}

func latencyFlag(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.latency, "latency", "0s", "how long each answer takes, as a `DURATION`")
}

func demoFlags(fs *flag.FlagSet, o *options) {
	jsonFlag(fs, o)
	fs.StringVar(&o.customer, "customer", "", "the customer to ask about, by `NAME`")
}

// duration parses the value of a flag.
func duration(flagName, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, &usageError{fmt.Sprintf("--%s %q is not a duration", flagName, value), "write it like 300ms, 5s or 2m"}
	}
	return d, nil
}

// variable returns the value of an environment variable; the last counts.
func (e Env) variable(name string) string {
	value := ""
	for _, kv := range e.Environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			value = v
		}
	}
	return value
}

// load reads the configuration that the command line and the environment name.
func (inv *invocation) load() (*config.Config, error) {
	path, err := inv.configPath()
	if err != nil {
		return nil, err
	}
	environ := inv.Environ
	if inv.opt.listen != "" {
		environ = append(slices.Clip(environ), "BULKHEAD_SERVER__LISTEN="+inv.opt.listen)
	}
	return reader().Load(path, environ)
}

func (inv *invocation) configPath() (string, error) {
	if inv.opt.config != "" {
		return inv.opt.config, nil
	}
	if path := inv.variable("BULKHEAD_CONFIG"); path != "" {
		return path, nil
	}
	candidates := []string{"config.toml"}
	if dir, err := os.UserConfigDir(); err == nil {
		candidates = append(candidates, filepath.Join(dir, "bulkhead", "config.toml"))
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", &usageError{"there is no configuration: looked for " + strings.Join(candidates, " and "),
		"name one with --config FILE, or try bulkhead demo, which needs none"}
}
