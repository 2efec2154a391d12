package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/bulkhead-mcp/bulkhead/aggregate"
	"github.com/bulkhead-mcp/bulkhead/internal/o200k"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// patience is how long a question waits for upstreams that are starting: longer
// than a client's first list, because nobody's start depends on it.
const patience = 10 * time.Second

// asked runs the configuration for one question.
func asked(ctx context.Context, inv *invocation, f func(context.Context, *aggregate.Aggregate) error) error {
	cfg, err := inv.load()
	if err != nil {
		return err
	}
	cfg.Server.ListWait = max(cfg.Server.ListWait, patience)
	if list := string(aggregate.DiscoverList); cfg.Server.Discovery != list { // a person sees what a model would look for
		cfg.Server.Discovery, cfg.Server.ListBudget = list, 0
	}
	return running(ctx, inv.Env, cfg, !inv.opt.verbose, func(ctx context.Context, _ *wiring, a *aggregate.Aggregate) error {
		return f(ctx, a)
	})
}

// settled waits until every upstream has answered or failed, or patience ends.
func settled(ctx context.Context, a *aggregate.Aggregate) error {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = a.Settled(wait) // an upstream that hangs is a finding, not a failure
	return ctx.Err()
}

// anyClient is the name of a client of which nothing is known.
const anyClient = "bulkhead"

// catalog returns the definition of every tool that is listed to a client.
func catalog(ctx context.Context, a *aggregate.Aggregate, client string) ([]json.RawMessage, error) {
	view, _ := a.View("")
	var tools []json.RawMessage
	r := &aggregate.Request{Principal: upstream.Local(), Client: client, Method: "tools/list"}
	for {
		raw, err := view.Handle(ctx, r)
		if err != nil {
			return nil, err
		}
		page, _ := rawjson.Get(raw, "tools")
		tools = slices.AppendSeq(tools, rawjson.Elements(page))
		cursor, more := rawjson.Get(raw, "nextCursor")
		if !more {
			return tools, nil
		}
		r.Params = fmt.Appendf(nil, `{"cursor":%s}`, cursor)
	}
}

// printTools prints the merged catalog.
func printTools(ctx context.Context, inv *invocation) error {
	return asked(ctx, inv, func(ctx context.Context, a *aggregate.Aggregate) error {
		if err := settled(ctx, a); err != nil {
			return err
		}
		tools, err := catalog(ctx, a, anyClient)
		if err != nil {
			return err
		}
		each, tokens := weights(tools)
		if inv.opt.json {
			for i, n := range each {
				if tools[i], err = rawjson.Set(tools[i], "tokens", []byte(strconv.Itoa(n))); err != nil {
					return err
				}
			}
			return printJSON(inv.Out, array(tools))
		}
		tab := tabwriter.NewWriter(inv.Out, 0, 0, 2, ' ', 0)
		for _, t := range tools {
			name, _ := rawjson.GetString(t, "name")
			what, _ := rawjson.GetString(t, "title")
			if what == "" {
				what, _ = rawjson.GetString(t, "description")
			}
			_, _ = fmt.Fprintf(tab, "%s\t%s\n", name, aggregate.Printable(what, 90))
		}
		missing(inv.Err, a.Status())
		if err := tab.Flush(); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(inv.Err, "bulkhead: %d %s, whose definitions are %d tokens (%s)\n", len(tools), plural(len(tools), "tool"), tokens, o200k.Name)
		return nil
	})
}

// callTool calls one tool and prints what it answers.
func callTool(ctx context.Context, inv *invocation) error {
	if len(inv.args) == 0 || len(inv.args) > 2 {
		return &usageError{"call takes a tool's name and its arguments as JSON",
			`for example: bulkhead call crm_get_customer '{"customer_id":"C-1001"}'`}
	}
	arguments := []byte("{}")
	if len(inv.args) == 2 {
		arguments = []byte(inv.args[1])
		if inv.args[1] == "-" {
			var err error
			if arguments, err = io.ReadAll(io.LimitReader(inv.In, 4<<20)); err != nil {
				return err
			}
		}
	}
	if err := rawjson.Check(arguments, rawjson.Limits{}); err != nil {
		return &usageError{"the arguments are not valid JSON: " + err.Error(), `write them like '{"query":"acme"}'`}
	}
	return asked(ctx, inv, func(ctx context.Context, a *aggregate.Aggregate) error {
		view, _ := a.View("")
		params := fmt.Appendf(nil, `{"name":%s,"arguments":%s}`, rawjson.Quote(inv.args[0]), arguments)
		raw, err := view.CallTool(ctx, &aggregate.Request{Principal: upstream.Local(), Client: "bulkhead", Params: params})
		if rpc, ok := errors.AsType[*upstream.RPCError](err); ok {
			return &hintError{errors.New(rpc.Message), "bulkhead tools lists the names"}
		}
		if err != nil {
			return err
		}
		return printResult(inv, raw)
	})
}

func printResult(inv *invocation, raw json.RawMessage) error {
	res, err := upstream.ParseResult(raw)
	if err != nil {
		return err
	}
	if inv.opt.json {
		err = printJSON(inv.Out, raw)
	} else {
		text := readable(raw)
		if f, ok := inv.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			text = harmless(text)
		}
		_, err = io.WriteString(inv.Out, text)
	}
	if err == nil && res.IsError {
		err = failedError{}
	}
	return err
}

// harmless escapes what could drive the terminal: the text is an upstream's.
// Elsewhere it is written as it came.
func harmless(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = aggregate.Printable(l, math.MaxInt)
	}
	return strings.Join(lines, "\n")
}

// readable returns a result's content as text; what is no text is named.
func readable(result json.RawMessage) string {
	var b strings.Builder
	content, _ := rawjson.Get(result, "content")
	for item := range rawjson.Elements(content) {
		typ, _ := rawjson.GetString(item, "type")
		if text, ok := rawjson.GetString(item, "text"); ok && typ == "text" {
			b.WriteString(strings.TrimSuffix(text, "\n") + "\n")
			continue
		}
		fmt.Fprintf(&b, "[%s, %d bytes; --json prints it]\n", aggregate.Printable(typ, 60), len(item))
	}
	if b.Len() == 0 {
		if structured, ok := rawjson.Get(result, "structuredContent"); ok {
			b.Write(structured)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// missing names the sources that an answer lacks.
func missing(w io.Writer, st aggregate.Status) {
	for _, s := range st.Sources {
		if s.State != string(upstream.Up) {
			_, _ = fmt.Fprintf(w, "bulkhead: warning: %s is %s: %s\n", s.Name, s.State, strings.Join((&board{now: time.Now()}).notes(s), "; "))
		}
	}
}

// array joins JSON values as they are.
func array(values []json.RawMessage) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(v)
	}
	b.WriteByte(']')
	return b.Bytes()
}

func printJSON(w io.Writer, raw []byte) error {
	var buf bytes.Buffer
	if err := json.Indent(&buf, raw, "", "  "); err != nil {
		return err
	}
	buf.WriteByte('\n')
	_, err := buf.WriteTo(w)
	return err
}
