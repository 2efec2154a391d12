package sandbox

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// param is one argument of a tool. From it come both the JSON Schema that the
// model reads and the check that its call has to pass, so they cannot differ.
// It is a string of 1 to max characters, or one of enum, or, where integer is
// set, a number from 1 to max.
type param struct {
	name, description string
	required, integer bool
	enum              []string
	max               int
	fallback          any // what an absent argument counts as: string or int; nil if nothing
}

type params []param

// schema returns the JSON Schema of the arguments.
func (ps params) schema() json.RawMessage {
	type property struct {
		Type        string   `json:"type"`
		Description string   `json:"description"`
		Enum        []string `json:"enum,omitempty"`
		MinLength   int      `json:"minLength,omitempty"`
		MaxLength   int      `json:"maxLength,omitempty"`
		Minimum     int      `json:"minimum,omitempty"`
		Maximum     int      `json:"maximum,omitempty"`
		Default     any      `json:"default,omitempty"`
	}
	var props, required []byte
	for _, p := range ps {
		v := property{Type: "string", Description: p.description, Enum: p.enum, Default: p.fallback}
		switch {
		case p.integer:
			v.Type, v.Minimum, v.Maximum = "integer", 1, p.max
		case p.enum == nil:
			v.MinLength, v.MaxLength = 1, p.max
		}
		raw, _ := json.Marshal(v) // strings and numbers always marshal
		props = append(props, fmt.Sprintf(",%q:%s", p.name, raw)...)
		if p.required {
			required = append(required, fmt.Sprintf(",%q", p.name)...)
		}
	}
	return fmt.Appendf(nil, `{"type":"object","properties":{%s},"required":[%s],"additionalProperties":false}`,
		strings.TrimPrefix(string(props), ","), strings.TrimPrefix(string(required), ","))
}

// args are the checked arguments of one call.
type args struct {
	text   map[string]string
	number map[string]int
	by     string // who calls
}

// decode checks the arguments of a call of that tool and names every fault at
// once. raw may be nil.
func (ps params) decode(tool string, raw json.RawMessage) (args, error) {
	in := args{text: map[string]string{}, number: map[string]int{}}
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	if err := rawjson.Check(raw, rawjson.Limits{}); err != nil {
		return in, invalid("the arguments of %s are not JSON: %v", tool, err)
	}
	if rawjson.Kind(raw) != '{' {
		return in, invalid("the arguments of %s must be an object, not %s", tool, show(raw))
	}
	var faults []string
	given := map[string]bool{}
	for m := range rawjson.Members(raw) {
		p := ps.find(m.Name)
		if p == nil {
			faults = append(faults, fmt.Sprintf("there is no argument %.60q; %s takes %s", m.Name, tool, ps.names()))
			continue
		}
		given[p.name] = true
		if !p.set(&in, m.Value) {
			faults = append(faults, fmt.Sprintf("%s must be %s, not %s", p.name, p.rule(), show(m.Value)))
		}
	}
	for i := range ps {
		p := &ps[i]
		switch {
		case given[p.name]:
		case p.required:
			faults = append(faults, fmt.Sprintf("%s is missing; it must be %s", p.name, p.rule()))
		case p.integer:
			in.number[p.name], _ = p.fallback.(int)
		default:
			in.text[p.name], _ = p.fallback.(string)
		}
	}
	if faults != nil {
		return in, invalid("%s", strings.Join(faults, "; "))
	}
	return in, nil
}

func (ps params) find(name string) *param {
	for i := range ps {
		if ps[i].name == name {
			return &ps[i]
		}
	}
	return nil
}

func (ps params) names() string {
	var all []string
	for _, p := range ps {
		if p.required {
			all = append(all, p.name+" (required)")
		} else {
			all = append(all, p.name)
		}
	}
	return strings.Join(all, ", ")
}

// set stores a value; false if it breaks the rule.
func (p *param) set(in *args, v json.RawMessage) bool {
	if p.integer {
		var f float64
		if json.Unmarshal(v, &f) != nil || rawjson.IsNull(v) || f != math.Trunc(f) || f < 1 || f > float64(p.max) {
			return false
		}
		in.number[p.name] = int(f)
		return true
	}
	if rawjson.Kind(v) != '"' {
		return false
	}
	s := rawjson.String(v)
	if p.enum == nil {
		s = strings.TrimSpace(s)
		in.text[p.name] = s
		return s != "" && utf8.RuneCountInString(s) <= p.max
	}
	in.text[p.name] = s
	return slices.Contains(p.enum, s)
}

func (p *param) rule() string {
	switch {
	case p.integer:
		return fmt.Sprintf("an integer from 1 to %d", p.max)
	case p.enum != nil:
		return "one of " + strings.Join(p.enum, ", ")
	}
	return fmt.Sprintf("a string of 1 to %d characters", p.max)
}

func invalid(format string, v ...any) error {
	return &upstream.Error{Kind: upstream.InvalidArguments, Public: fmt.Sprintf(format, v...)}
}

// show returns the beginning of a value for an error text.
func show(v json.RawMessage) string {
	const most = 40
	s := []rune(strings.TrimSpace(string(v)))
	if len(s) > most {
		return string(s[:most]) + "..."
	}
	return string(s)
}

// The arguments that several tools share.

func customerID() param {
	return param{name: "customer_id", required: true, max: 20,
		description: "Customer id such as C-1001, from crm find_customers. Not a name."}
}

func orderID() param {
	return param{name: "order_id", required: true, max: 20,
		description: "Order id such as O-100001, from recent_orders or a ticket's order_id."}
}

func ticketID() param {
	return param{name: "ticket_id", required: true, max: 20,
		description: "Ticket id such as T-20001, from open_tickets or search_tickets."}
}

const mostRows = 50

func limit(fallback int) param {
	return param{name: "limit", integer: true, max: mostRows, fallback: fallback,
		description: fmt.Sprintf("Return at most this many, 1 to %d.", mostRows)}
}
