package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/zalando/go-keyring"
)

const (
	maxSecret    = 64 << 10 // bytes
	commandLimit = 10 * time.Second
	keyringLimit = time.Minute // the system may ask a person to unlock it
)

// Ref says where a secret is kept. Exactly one field is set.
type Ref struct {
	Env     string   // name of an environment variable of this process
	File    string   // path of a file that only its owner can read
	Command []string // program and arguments; prints the secret to standard output
	Keyring string   // "service/account" in the operating system's keyring
}

// String names the reference: never the secret, and of a command only the
// program.
func (r Ref) String() string {
	switch {
	case r.Env != "":
		return "env " + r.Env
	case r.File != "":
		return "file " + r.File
	case len(r.Command) > 0:
		return "command " + filepath.Base(r.Command[0])
	case r.Keyring != "":
		return "keyring " + r.Keyring
	}
	return "empty reference"
}

// ResolveError is a secret that could not be fetched. It never contains the
// secret or any output of a command.
type ResolveError struct {
	Ref  Ref
	Hint string // what to do; "" if there is nothing to add
	Err  error
}

func (e *ResolveError) Error() string {
	s := fmt.Sprintf("secret from %v: %v", e.Ref, e.Err)
	if e.Hint != "" {
		s += " (hint: " + e.Hint + ")"
	}
	return s
}

func (e *ResolveError) Unwrap() error { return e.Err }

// Resolve fetches the secret that ref names. One line break at the end of a
// file's or a command's output is dropped; an empty secret and one of more than
// 64 KiB are errors. It waits 10 s for a command and 1 min for the keyring, or
// until ctx ends. The error is a *[ResolveError].
func Resolve(ctx context.Context, ref Ref) (Secret, error) {
	v, hint, err := fetch(ctx, ref)
	if err == nil {
		switch {
		case len(v) > maxSecret:
			err = fmt.Errorf("longer than %d bytes", maxSecret)
		case v == "":
			err = errors.New("it is empty")
		}
	}
	if err != nil {
		return Secret{}, &ResolveError{Ref: ref, Hint: hint, Err: err}
	}
	return NewSecret(v), nil
}

func fetch(ctx context.Context, ref Ref) (v, hint string, err error) {
	set := 0
	for _, is := range []bool{ref.Env != "", ref.File != "", len(ref.Command) > 0, ref.Keyring != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		return "", "set exactly one of env, file, command and keyring", fmt.Errorf("%d places named", set)
	}
	switch {
	case ref.Env != "":
		v, ok := os.LookupEnv(ref.Env)
		hint := "set it where Bulkhead is started; desktop assistants pass only the variables of their own configuration"
		if !ok {
			return "", hint, errors.New("the variable is not set")
		}
		return v, hint, nil
	case ref.File != "":
		return fromFile(ref.File)
	case ref.Keyring != "":
		return fromKeyring(ctx, ref.Keyring)
	}
	return fromCommand(ctx, ref.Command)
}

func fromFile(path string) (v, hint string, err error) {
	// Looked at before it is opened: opening a pipe would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return "", "create it, readable by its owner only", withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return "", "name a regular file", errors.New("it is no regular file")
	}
	f, err := os.Open(path) //nolint:gosec // the operator's own choice
	if err != nil {
		return "", "make it readable for the user that runs Bulkhead", withoutPath(err)
	}
	defer f.Close() //nolint:errcheck // only read from
	if info, err = f.Stat(); err != nil {
		return "", "", withoutPath(err)
	}
	if exposed(path, info.Mode()) {
		return "", "run chmod 600 on it", fmt.Errorf("other users can read it (mode %04o)", info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+3))
	if err != nil {
		return "", "", withoutPath(err)
	}
	return trimLine(data), "write the secret into it", nil
}

func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err // the reference names the path already
	}
	return err
}

func trimLine(data []byte) string {
	s := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(s, "\r")
}

func fromCommand(ctx context.Context, argv []string) (v, hint string, err error) {
	const byHand = "run it by hand to see what it says; it gets no terminal and a sealed environment"
	ctx, cancel := context.WithTimeoutCause(ctx, commandLimit, fmt.Errorf("no answer within %v", commandLimit))
	defer cancel()
	cmd := command(ctx, nil, argv[0], argv[1:]...)
	cmd.Env = append(cmd.Env, inherit(agents...)...)
	var out bounded
	cmd.Stdout = &out
	ownGroup(cmd)
	cmd.WaitDelay = time.Second // a grandchild may hold the pipe open
	err = cmd.Run()
	switch {
	case out.over:
		return "", byHand, fmt.Errorf("it printed more than %d bytes", maxSecret)
	case ctx.Err() != nil:
		return "", byHand, context.Cause(ctx)
	case err != nil:
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", byHand, fmt.Errorf("the program failed: %v", exit.ProcessState)
		}
		return "", "write the program's whole path, or put it on the PATH", err
	}
	return trimLine(out.data.Bytes()), byHand, nil
}

// bounded keeps up to maxSecret bytes and a line break, and then fails, which
// ends the command.
type bounded struct {
	data bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.data.Len()+len(p) > maxSecret+2 {
		b.over = true
		return 0, io.ErrShortWrite
	}
	return b.data.Write(p)
}

func fromKeyring(ctx context.Context, name string) (v, hint string, err error) {
	i := strings.LastIndexByte(name, '/')
	if i <= 0 || i == len(name)-1 {
		return "", `write it as "service/account"`, errors.New("it names no service and account")
	}
	v, err = askKeyring(ctx, func() (string, error) { return keyring.Get(name[:i], name[i+1:]) })
	switch {
	case errors.Is(err, keyring.ErrNotFound):
		return "", "store it there first", errors.New("there is no such entry")
	case errors.Is(err, errNoAnswer) || ctx.Err() != nil:
		return "", "unlock the keyring", err
	}
	return v, "use env, file or command where there is no desktop keyring", err
}

var errNoAnswer = fmt.Errorf("no answer within %v", keyringLimit)

// askKeyring runs ask, which takes no context: a system that never answers keeps
// this one goroutine, but not the caller.
func askKeyring(ctx context.Context, ask func() (string, error)) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, keyringLimit, errNoAnswer)
	defer cancel()
	type answer struct {
		v   string
		err error
	}
	got := make(chan answer, 1)
	go func() {
		v, err := ask()
		got <- answer{v, err}
	}()
	select {
	case a := <-got:
		return a.v, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
