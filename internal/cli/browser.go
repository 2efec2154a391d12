package cli

import (
	"context"
	"errors"
	"net/url"
	"runtime"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

// displays are the variables by which a program finds the desktop that it is to
// show itself on, beside those that every child gets.
var displays = []string{"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_CURRENT_DESKTOP", "XDG_SESSION_TYPE",
	"XDG_DATA_DIRS", "XDG_CONFIG_HOME", "DESKTOP_SESSION", "DBUS_SESSION_BUS_ADDRESS", "WSL_DISTRO_NAME", "WSL_INTEROP", "BROWSER"}

var errNoBrowser = errors.New("there is no browser to be opened here")

// browse shows a page in the user's browser, and does not wait for it. It starts
// one program with the address as one argument, without a shell and with a sealed
// environment.
func (e Env) browse(ctx context.Context, page string) error {
	u, err := url.Parse(page)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("only addresses of http and https are opened")
	}
	spec := credentials.Spec{Name: "browser", Env: map[string]credentials.Secret{}}
	for _, name := range displays {
		if v := e.variable(name); v != "" {
			spec.Env[name] = credentials.NewSecret(v)
		}
	}
	grant, err := credentials.NewGrant(spec)
	if err != nil {
		return err
	}
	// It is the user's and outlives us, so nobody ends it or waits for it.
	err = errNoBrowser
	for _, argv := range e.browsers(u.String()) {
		cmd := grant.Command(context.WithoutCancel(ctx), argv[0], argv[1:]...)
		if err = cmd.Start(); err == nil {
			return cmd.Process.Release()
		}
	}
	return err
}

// browsers returns the command lines to try. $BROWSER is read as xdg-open reads
// it: commands between colons, in which %s stands for the address.
func (e Env) browsers(page string) [][]string {
	var all [][]string
	for command := range strings.SplitSeq(e.variable("BROWSER"), ":") {
		argv := strings.Fields(command)
		if len(argv) == 0 {
			continue
		}
		if i := slices.Index(argv, "%s"); i > 0 {
			argv[i] = page
		} else {
			argv = append(argv, page)
		}
		all = append(all, argv)
	}
	if len(all) > 0 {
		return all
	}
	switch runtime.GOOS {
	case "darwin":
		return [][]string{{"open", page}}
	case "windows":
		return [][]string{{"rundll32", "url.dll,FileProtocolHandler", page}}
	}
	if e.variable("DISPLAY") == "" && e.variable("WAYLAND_DISPLAY") == "" && e.variable("WSL_DISTRO_NAME") == "" {
		return nil // one in text would want this terminal
	}
	return [][]string{{"xdg-open", page}}
}
