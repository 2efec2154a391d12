package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	kt "github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/pelletier/go-toml/v2"
)

// maxFile is the largest configuration file read, in bytes.
const maxFile = 1 << 20

// Presets returns what stands under the table of an upstream: a tree of the same
// form, whose keys count where the operator has not set them; nil for none. The
// upstream's own is given as it was written, unchecked, with base, the directory
// that relative paths start from. The paths of the faults start below the
// upstream. The tree is changed afterwards: it is made anew each time.
type Presets func(base string, upstream map[string]any) (map[string]any, Faults)

// Reader reads configurations. The zero value knows no presets and no jq.
type Reader struct {
	Presets Presets
	// CheckJQ says what is wrong with a jq program; nil takes any for one.
	CheckJQ func(program string) error
	// Check finds what is wrong with an upstream besides its keys. It is asked only
	// where something else is wrong with the configuration, so that all faults are
	// told at once: of a right one the upstreams are built, which finds the same.
	Check func(Upstream) Faults
}

// Load reads the file at path and lays the BULKHEAD_ variables of environ
// (in the form of os.Environ; of several with one name the last counts) over
// it. The error is [Faults] if the content is wrong and a *[FileError] if the
// file cannot be read.
func (r Reader) Load(path string, environ []string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return r.Parse(data, path, environ)
}

// Parse is [Reader.Load] on the content of a file. Relative paths in it are taken
// from the directory of path, which need not exist. The error is [Faults].
func (r Reader) Parse(data []byte, path string, environ []string) (*Config, error) {
	env := environment(environ)
	d := &decoder{home: env["HOME"], given: map[string]bool{}, from: map[string]string{}, presets: r.Presets, checkJQ: r.CheckJQ}
	if d.home == "" {
		d.home = env["USERPROFILE"]
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, Faults{{Path: path, Problem: err.Error(), Hint: "name the file by its absolute path"}}
	}
	d.base = filepath.Dir(abs)
	tree, err := d.tree(data, env)
	if err != nil {
		return nil, err
	}
	cfg := d.config(tree)
	cfg.Path = path
	if len(d.faults) == 0 {
		return cfg, nil
	}
	for _, u := range cfg.Upstreams {
		if r.Check != nil && u.Enabled && sound(d, join("upstream", u.Name)) {
			d.faults = append(d.faults, r.Check(u)...)
		}
	}
	return nil, d.faults
}

// sound reports whether what an upstream is made of is known: it has no faults but
// in the keys of every upstream, and in auth.
func sound(d *decoder, path string) bool {
	common, kinds := sectionAt("upstream.*"), kindKeys()
	return !slices.ContainsFunc(d.faults, func(f Fault) bool {
		rest, below := strings.CutPrefix(f.Path, path+".")
		name, _, _ := strings.Cut(rest, ".")
		name, _, _ = strings.Cut(name, "[")
		switch {
		case f.Path == path:
			return true
		case !below || name == "auth":
			return false
		}
		return name == "kind" || kinds[name] || common.key(name) == nil && common.sub(name) == nil
	})
}

// Load is [Reader.Load] without presets.
func Load(path string, environ []string) (*Config, error) { return Reader{}.Load(path, environ) }

// Parse is [Reader.Parse] without presets.
func Parse(data []byte, path string, environ []string) (*Config, error) {
	return Reader{}.Parse(data, path, environ)
}

// underlaid lays what the operator has written of an upstream over its presets.
func underlaid(d *decoder, path string, raw map[string]any) map[string]any {
	if d.presets == nil {
		return raw
	}
	under, faults := d.presets(d.base, raw)
	d.partial = len(faults) > 0
	for _, f := range faults {
		d.fault(strings.TrimSuffix(path+"."+f.Path, "."), f.Problem, f.Hint)
	}
	if under == nil {
		return raw
	}
	if err := merge(raw, under); err != nil {
		d.fault(path, err.Error(), "")
		return raw
	}
	return under
}

func read(path string) ([]byte, error) {
	const hint = "name a TOML file with --config or in BULKHEAD_CONFIG; the repository's config.toml is one to start from"
	f, err := os.Open(path)
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err // the path is in FileError already
		}
		return nil, &FileError{Path: path, Hint: hint, Err: err}
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return nil, &FileError{Path: path, Hint: hint, Err: err}
	}
	if len(data) > maxFile {
		return nil, &FileError{Path: path, Hint: hint, Err: fmt.Errorf("larger than %d bytes", maxFile)}
	}
	return data, nil
}

func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

// tree returns file and environment as one nested map. koanf only parses and
// merges here: its own decoding accepts unknown keys and weak types.
func (d *decoder) tree(data []byte, env map[string]string) (map[string]any, error) {
	k := koanf.New(".")
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // written by some Windows editors
	if err := k.Load(rawbytes.Provider(data), kt.Parser()); err != nil {
		return nil, Faults{syntaxFault(err)}
	}
	over := d.overrides(k.Raw(), env)
	if len(over) == 0 {
		return k.Raw(), nil
	}
	if err := k.Load(confmap.Provider(over, ""), nil, koanf.WithMergeFunc(merge)); err != nil {
		return nil, Faults{{Problem: err.Error()}}
	}
	return k.Raw(), nil
}

// merge lays src over dst. A reference to a secret is replaced as a whole:
// half of one and half of another would be two.
func merge(src, dst map[string]any) error {
	for name, v := range src {
		sub, ok := v.(map[string]any)
		old, both := dst[name].(map[string]any)
		if ok && both && !isRef(sub) {
			if err := merge(sub, old); err != nil {
				return err
			}
			continue
		}
		dst[name] = v
	}
	return nil
}

func isRef(m map[string]any) bool {
	if len(m) != 1 {
		return false
	}
	for name, v := range m {
		_, table := v.(map[string]any)
		return slices.Contains(refNames, name) && !table
	}
	return false
}

// syntaxFault keeps the parser's message and position but not its excerpt of
// the text, which may hold a secret.
func syntaxFault(err error) Fault {
	f := Fault{Problem: strings.TrimPrefix(err.Error(), "toml: "), Hint: "the file must be TOML 1.0; strings stand in quotes"}
	if de, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := de.Position()
		f.Path = fmt.Sprintf("line %d, column %d", line, column)
	}
	return f
}

// CheckName says what is wrong with the name of an upstream, and what to do; ""
// if nothing is.
func CheckName(name string) (problem, hint string) {
	if upstreamName.MatchString(name) {
		return "", ""
	}
	return "is no valid name for an upstream", "begin with a lower-case letter and use at most 24 of a-z, 0-9, _ and -"
}

// Names returns the names of the upstreams in the content of a file, right or
// faulty; none of what is no TOML.
func Names(data []byte) []string {
	tree, err := kt.Parser().Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")))
	if err != nil {
		return nil
	}
	upstreams, _ := tree["upstream"].(map[string]any)
	return slices.Sorted(maps.Keys(upstreams))
}

// config decodes the whole tree, noting every fault on the way.
func (d *decoder) config(tree map[string]any) *Config {
	cfg := &Config{}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if name != "server" && name != "upstream" {
			d.unknown(name, name, []string{"server", "upstream"})
		}
	}
	server, _ := d.table("server", tree["server"])
	d.section(sectionAt("server"), "server", server, target{server: &cfg.Server})
	checkClients(d, &cfg.Server)

	upstreams, ok := d.table("upstream", tree["upstream"])
	for _, name := range slices.Sorted(maps.Keys(upstreams)) {
		path := join("upstream", name)
		if problem, hint := CheckName(name); problem != "" {
			d.fault(path, problem, hint)
		}
		raw, ok := d.table(path, upstreams[name])
		if !ok {
			continue
		}
		d.partial = false
		raw = underlaid(d, path, raw)
		u := Upstream{Name: name}
		d.section(sectionAt("upstream.*"), path, raw, target{upstream: &u})
		d.checkUpstream(path, &u)
		d.checkLimits(path, &u, cfg.Server.Deadline)
		d.checkCache(path, &u)
		checkShapes(d, path, &u, cfg.Server.MaxResult)
		cfg.Upstreams = append(cfg.Upstreams, u)
	}
	d.partial = false
	checkAccounts(d.fault, cfg.Upstreams)
	checkUsers(d, cfg)
	if ok && !slices.ContainsFunc(cfg.Upstreams, func(u Upstream) bool { return u.Enabled }) {
		problem := "no upstream configured"
		if len(upstreams) > 0 {
			problem = "no upstream is enabled"
		}
		d.fault("upstream", problem, `add a source, e.g. [upstream.memory] with command = ["npx", "-y", "@modelcontextprotocol/server-memory"]`)
	}
	return cfg
}
