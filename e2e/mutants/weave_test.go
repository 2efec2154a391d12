package mutants_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// switchName is the variable of a woven package that says which mutant is on, and
// switchEnv the variable of the environment that it is read from.
const (
	switchName = "plantedBug__"
	switchEnv  = "BULKHEAD_PLANTED_BUG"
)

// weave puts all mutants into the code at once, each beside what it changes and
// off until switchEnv has its number: so a package is compiled once for all of
// them, not once for each. What changes more than the bodies of functions cannot
// be woven, and is left out.
type weave struct {
	dir     string
	numbers map[string]int // of the mutants that are in it, by name; from 1

	mu       sync.Mutex
	binaries map[string]func() (*binary, error) // by package
	mutants  []mutant
}

// binary is a package's tests with all mutants woven in.
type binary struct{ file, pkg string }

func (b *binary) run(ctx context.Context, timeout, tests string, number int) (string, error) {
	cmd := exec.CommandContext(ctx, b.file, "-test.run", tests, "-test.short", "-test.failfast", "-test.paniconexit0", "-test.timeout="+timeout)
	cmd.Dir = filepath.Join(root, b.pkg)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", switchEnv, number))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// compiled compiles a package's tests when it is first asked for it, and sees to
// it that they find nothing while every mutant is off.
func (w *weave) compiled(ctx context.Context, pkg string) (*binary, error) {
	w.mu.Lock()
	once := w.binaries[pkg]
	if once == nil {
		once = sync.OnceValues(func() (*binary, error) { return w.compile(ctx, pkg) })
		w.binaries[pkg] = once
	}
	w.mu.Unlock()
	return once()
}

func (w *weave) compile(ctx context.Context, pkg string) (*binary, error) {
	bin := filepath.Join(w.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", filepath.Join(w.dir, overlayName), "-vet=off", "-o", bin, "./"+pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s does not compile with all mutants woven in: %w\n%s", pkg, err, out)
	}
	var tests []string
	for _, m := range w.mutants {
		if m.pkg == pkg && w.numbers[m.bug] > 0 && !slices.Contains(tests, m.test) {
			tests = append(tests, m.test)
		}
	}
	b := &binary{bin, pkg}
	if out, err := b.run(ctx, "5m", "^("+strings.Join(tests, "|")+")$", 0); err != nil {
		return nil, fmt.Errorf("%s fails with no mutant on: %w\n%s", pkg, err, out)
	}
	return b, nil
}

const overlayName = "woven.json"

// newWeave reads the code below root and writes the overlay into dir.
func newWeave(dir string, mutants []mutant) (*weave, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	w := &weave{dir: dir, numbers: map[string]int{}, binaries: map[string]func() (*binary, error){}, mutants: mutants}
	replace := map[string]string{} // in the go command's form: real file to what stands for it
	add := func(file string, text []byte) error {
		file, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			return err
		}
		if replace[file] == "" {
			replace[file] = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		}
		return os.WriteFile(replace[file], text, 0o600)
	}
	byFile := map[string][]mutant{}
	for _, m := range mutants {
		byFile[m.file] = append(byFile[m.file], m)
	}
	for file, its := range byFile {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		f, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, m := range its {
			if f.take(m, len(w.numbers)+1) {
				w.numbers[m.bug] = len(w.numbers) + 1
			}
		}
		sw := fmt.Sprintf("package %s\n\nimport \"os\"\n\nvar %s = os.Getenv(%q)\n", f.ast.Name.Name, switchName, switchEnv)
		if err := cmp.Or(add(file, f.woven()), add(path.Join(path.Dir(file), "planted_bug.go"), []byte(sw))); err != nil {
			return nil, err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	return w, os.WriteFile(filepath.Join(dir, overlayName), list, 0o600)
}

// source is a file of Go: its functions, and what is between them.
type source struct {
	text  []byte
	fset  *token.FileSet
	ast   *ast.File
	funcs map[string]*ast.FuncDecl // by what stands before their body
	turns map[string][]string      // of a function, by the same: what its body begins with
	added []string                 // functions
}

func parse(text []byte) (*source, error) {
	f := &source{text: text, fset: token.NewFileSet(), funcs: map[string]*ast.FuncDecl{}, turns: map[string][]string{}}
	var err error
	if f.ast, err = parser.ParseFile(f.fset, "", text, parser.SkipObjectResolution); err != nil {
		return nil, err
	}
	for _, d := range f.ast.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Body != nil {
			f.funcs[f.at(d.Pos(), d.Body.Pos())] = d
		}
	}
	return f, nil
}

func (f *source) at(from, to token.Pos) string {
	return string(f.text[f.fset.Position(from).Offset:f.fset.Position(to).Offset])
}

// rest is the file without the bodies of its functions.
func (f *source) rest() string {
	var b strings.Builder
	from := f.ast.FileStart
	for _, d := range f.ast.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Body != nil {
			b.WriteString(f.at(from, d.Body.Pos()))
			from = d.Body.End()
		}
	}
	b.WriteString(f.at(from, f.ast.FileEnd))
	return b.String()
}

// take weaves a mutant in under this number; it says whether it could.
func (f *source) take(m mutant, number int) bool {
	changed, err := parse([]byte(strings.NewReplacer(m.changes...).Replace(string(f.text))))
	if err != nil || changed.rest() != f.rest() {
		return false
	}
	var others []string
	for head, d := range changed.funcs {
		is := f.funcs[head].Body
		if changed.at(d.Body.Pos(), d.Body.End()) == f.at(is.Pos(), is.End()) {
			continue
		}
		if d.Name.Name == "init" {
			return false
		}
		others = append(others, head)
	}
	for _, head := range others {
		d, suffix := changed.funcs[head], fmt.Sprintf("__%d", number)
		f.turns[head] = append(f.turns[head], turn(d, suffix, number))
		d.Name.Name += suffix
		f.added = append(f.added, changed.head(d)+changed.at(d.Body.Pos(), d.Body.End()))
	}
	return true
}

// turn is the statement that has another function take the place of d when the
// mutant is on. It gives d's parameters names where they have none.
func turn(d *ast.FuncDecl, suffix string, number int) string {
	n := 0
	named := func(fields *ast.FieldList) (names []string) {
		for _, p := range fields.List {
			if len(p.Names) == 0 {
				p.Names = []*ast.Ident{{Name: "_"}}
			}
			for _, name := range p.Names {
				if name.Name == "_" {
					n++
					name.Name = fmt.Sprintf("param__%d", n)
				}
				names = append(names, name.Name)
			}
		}
		return names
	}
	call := d.Name.Name + suffix
	if d.Recv != nil {
		call = named(d.Recv)[0] + "." + call
	}
	if d.Type.TypeParams != nil {
		call += "[" + strings.Join(named(d.Type.TypeParams), ", ") + "]"
	}
	args := strings.Join(named(d.Type.Params), ", ")
	if ps := d.Type.Params.List; len(ps) > 0 {
		if _, variadic := ps[len(ps)-1].Type.(*ast.Ellipsis); variadic {
			args += "..."
		}
	}
	call += "(" + args + ")"
	if d.Type.Results != nil {
		call = "return " + call
	} else {
		call += "; return"
	}
	return fmt.Sprintf("if %s == \"%d\" { %s }\n", switchName, number, call)
}

// head prints what stands before a function's body.
func (f *source) head(d *ast.FuncDecl) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, f.fset, &ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type}); err != nil {
		panic(err) // it has been parsed
	}
	return b.String() + " "
}

// woven is the file with all that was taken.
func (f *source) woven() []byte {
	var b strings.Builder
	from := f.ast.FileStart
	for _, d := range f.ast.Decls {
		d, ok := d.(*ast.FuncDecl)
		if !ok || d.Body == nil {
			continue
		}
		turns := f.turns[f.at(d.Pos(), d.Body.Pos())]
		if len(turns) == 0 {
			continue
		}
		b.WriteString(f.at(from, d.Pos()))
		turn(d, "", 0) // for the names
		b.WriteString(f.head(d) + "{\n" + strings.Join(turns, ""))
		from = d.Body.Lbrace + 1
	}
	b.WriteString(f.at(from, f.ast.FileEnd))
	return []byte(b.String() + "\n" + strings.Join(f.added, "\n\n") + "\n")
}

const plain = `package p

type list[T any] []T

// first has a comment.
func first[T any](l list[T], _ int, more ...T) T { return append(l, more...)[0] }

func (list[T]) nothing(int, string) (n int, err error) { return 1, nil }

func (l *list[T]) drop() { *l = (*l)[1:] }

func init() { _ = first(list[int]{1}, 2, 3) }

var limit = 3
`

// A body is woven in whatever its function looks like; the whole compiles, and
// has the old body and the new one.
func TestWeaveBodies(t *testing.T) {
	f, err := parse([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range []mutant{
		{bug: "generic", changes: changes{`(l, more...)[0]`, `(l, more...)[1]`}},
		{bug: "unnamed", changes: changes{`return 1, nil`, `return 2, nil`}},
		{bug: "the same again", changes: changes{`return 1, nil`, `return 3, nil`}},
		{bug: "two at once", changes: changes{`[1:]`, `[2:]`, `return 1, nil`, `return 4, nil`}},
	} {
		if !f.take(m, i+1) {
			t.Errorf("%s: not taken", m.bug)
		}
	}
	text := string(f.woven()) + "var " + switchName + " string\n"
	whole, err := parse([]byte(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if _, err := new(types.Config).Check("p", whole.fset, []*ast.File{whole.ast}, nil); err != nil {
		t.Errorf("%v:\n%s", err, text)
	}
	for _, want := range []string{
		`[0] }`, `[1] }`, `return 1, nil`, `return 2, nil`, `return 3, nil`, `return 4, nil`, `[1:]`, `[2:]`,
		`"1" { return first__1[T](l, param__1, more...) }`,
		`"2" { return param__1.nothing__2(param__2, param__3) }`,
		`"4" { l.drop__4(); return }`,
		"// first has a comment.\nfunc first[",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, text)
		}
	}
}

// What is not a function's body, or runs before anything can be switched, is left
// to be planted alone, and leaves no trace.
func TestWeaveLeaves(t *testing.T) {
	for _, c := range []changes{
		{`limit = 3`, `limit = 4`},
		{`(n int, err error)`, `(m int, err error)`},
		{`func (l *list[T]) drop()`, "var more int\n\nfunc (l *list[T]) drop()"},
		{`[1:]`, `[2:]`, `2, 3) }`, `2, 4) }`},
		{`[1:]`, `[2:`},
	} {
		f, err := parse([]byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		if f.take(mutant{changes: c}, 1) {
			t.Errorf("%q was taken", c)
		}
		if got := strings.TrimSpace(string(f.woven())); got != strings.TrimSpace(plain) {
			t.Errorf("%q left a trace:\n%s", c, got)
		}
	}
}
