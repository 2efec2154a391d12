package workload

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// class is how long calls of a kind take: log-normal, cut off at the 99th of a
// hundred so that a run ends.
type class struct {
	middle time.Duration // half of them are faster
	sigma  float64       // of the logarithm
}

// The classes. Their figures are typical ones: the ratio of the 99th of a
// hundred to the middle is 10 for a database and a warehouse, 8 for a hosted
// service and 3 for an encyclopedia, whose searches in the measurements of
// LLMCompiler (https://arxiv.org/abs/2312.04511) take 0.61 s on average.
var (
	database  = class{20 * time.Millisecond, 0.99}
	hosted    = class{250 * time.Millisecond, 0.9}
	warehouse = class{1200 * time.Millisecond, 0.99}
	wiki      = class{540 * time.Millisecond, 0.48}
)

func (c class) draw(r *rand.Rand) time.Duration {
	z := min(r.NormFloat64(), 2.326)
	return time.Duration(float64(c.middle) * math.Exp(c.sigma*z)).Round(time.Microsecond)
}

// Limit is what a source takes; nothing worth the name if it is zero.
type Limit struct {
	Slots int           // calls at once
	Burst int           // calls that may begin in one moment after a pause,
	Gap   time.Duration // and how long it then is from one to the next
}

// Name is the source that has the limit.
func (l Limit) Name() string {
	if l.Burst > 0 {
		return "paced"
	}
	return fmt.Sprintf("at%d", l.Slots)
}

// Limits are those of the shapes, each at a source of its own.
func Limits() []Limit {
	return []Limit{{Slots: 1}, {Slots: 2}, {Slots: 4}, {Slots: 8}, {Burst: 5, Gap: 25 * time.Millisecond}}
}

// Sources are those without a limit.
func Sources() []string { return []string{first, second, third} }

const first, second, third = "a", "b", "c"

// Shape draws plans of one kind.
type Shape struct {
	Name string
	// Limit is that of the source which all calls are made to. Such a plan is a
	// list and calls for its rows.
	Limit Limit
	draw  func(r *rand.Rand) Plan
}

// Draw makes a plan, the same for the same number and first word of the name,
// with all times divided.
func (s Shape) Draw(number, divisor int) Plan {
	kind, _, _ := strings.Cut(s.Name, " ")
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%04d %s", number, kind))
	return s.draw(rand.New(rand.NewChaCha8(seed))).divided(divisor)
}

// Least is how long a run would have taken at least, of what its sources say
// each call took. Orders differ where a limit makes calls wait.
type Least struct {
	InOrder  time.Duration   // with the calls in the order in which they began
	ByChance []time.Duration // in many orders drawn by chance
	Best     time.Duration   // in the best order, which can be found with hindsight only
}

// Least is that of a run of a plan of the shape.
func (s Shape) Least(p *Plan, r *Run) Least {
	took := r.Took()
	if s.Limit == (Limit{}) {
		d := p.Critical(took)
		return Least{InOrder: d, Best: d}
	}
	list, rows := took[0], make([]time.Duration, 0, len(took))
	for _, i := range r.begun(1) {
		rows = append(rows, took[i])
	}
	if s.Limit.Burst > 0 {
		order := func(rows []time.Duration) time.Duration { return Paced(list, rows, s.Limit) }
		return Least{order(rows), byChance(rows, order), order(longestFirst(rows))}
	}
	order := func(rows []time.Duration) time.Duration { return list + InOrder(rows, s.Limit.Slots) }
	best, _ := WithHindsight(rows, s.Limit.Slots)
	return Least{order(rows), byChance(rows, order), list + best}
}

// Shapes are all of them but the busy session beside quiet ones. Their widths
// are those of public collections: two and eight searches as in LLMCompiler's
// comparisons and recommendations, trees as in its ParallelQA, widths as in the
// parallel calls of BFCL (https://gorilla.cs.berkeley.edu/leaderboard.html),
// nine steps at three servers as in MCP-Bench
// (https://github.com/Accenture/mcp-bench).
func Shapes() []Shape {
	out := []Shape{
		{"S1 two searches", Limit{}, func(r *rand.Rand) Plan { return wide(r, 2, wiki) }},
		{"S2 eight searches", Limit{}, func(r *rand.Rand) Plan { return wide(r, 8, wiki) }},
		{"S3 search, compute, combine", Limit{}, tree},
		{"S4 two to eight at once", Limit{}, func(r *rand.Rand) Plan { return wide(r, width(r), hosted) }},
		{"S5 chain of two to four", Limit{}, chain},
		{"S6 nine steps, three servers", Limit{}, servers},
		{"S7 reads, a write, reads", Limit{}, barrier},
	}
	for _, l := range Limits() {
		how := fmt.Sprintf("%d at once", l.Slots)
		if l.Burst > 0 {
			how = fmt.Sprintf("one each %s", l.Gap)
		}
		out = append(out, Shape{"S8 16 rows, " + how, l, func(r *rand.Rand) Plan { return overRows(r, l.Name()) }})
	}
	return append(out, Shape{"S10 half of a source fails", Limit{}, failing})
}

// Apart is a shape of n calls that need nothing of each other, all to a hosted
// service behind one source.
func Apart(name, source string, n int) Shape {
	return Shape{name, Limit{}, func(r *rand.Rand) Plan {
		p := wide(r, n, hosted)
		for i := range p.Calls {
			p.Calls[i].Source = source
		}
		return p
	}}
}

// maker puts a plan together.
type maker struct {
	*rand.Rand
	Plan
}

func (m *maker) call(id, source string, c class, of ...int) int {
	m.Calls = append(m.Calls, Call{ID: id, Source: source, Takes: c.draw(m.Rand), Of: of})
	return len(m.Calls) - 1
}

func name(letter string, i int) string { return fmt.Sprintf("%s%d", letter, i) }

// wide is n calls that need nothing of each other.
func wide(r *rand.Rand, n int, c class) Plan {
	m := maker{Rand: r}
	for i := range n {
		m.call(name("s", i), first, c)
	}
	return m.Plan
}

// width is how many calls there are at once in parallel turns of BFCL.
func width(r *rand.Rand) int {
	switch percent := r.IntN(100); {
	case percent < 54:
		return 2
	case percent < 80:
		return 3
	case percent < 98:
		return 4
	}
	return 6 + r.IntN(3)
}

// tree is two to five branches, each a search and what is computed of it, and
// what combines them.
func tree(r *rand.Rand) Plan {
	m := maker{Rand: r}
	var ends []int
	for i := range 2 + r.IntN(4) {
		search := m.call(name("s", i), first, hosted)
		ends = append(ends, m.call(name("c", i), second, hosted, search))
	}
	m.call("all", third, database, ends...)
	return m.Plan
}

func chain(r *rand.Rand) Plan {
	m := maker{Rand: r}
	last := m.call("s0", first, hosted)
	for i := range 1 + r.IntN(3) {
		last = m.call(name("s", i+1), []string{second, third, first}[i], hosted, last)
	}
	return m.Plan
}

// servers is a fan-out of five behind a first step, and a long query beside it.
func servers(r *rand.Rand) Plan {
	m := maker{Rand: r}
	start := m.call("start", first, hosted)
	branch := m.call("query", third, warehouse)
	var five []int
	for i := range 5 {
		five = append(five, m.call(name("f", i), second, hosted, start))
	}
	joined := m.call("join", third, database, five...)
	m.call("end", first, hosted, joined, branch)
	return m.Plan
}

// barrier is a write between reads of the same source, and two reads elsewhere
// that have nothing to do with it.
func barrier(r *rand.Rand) Plan {
	m := maker{Rand: r}
	for i := range 3 {
		m.call(name("r", i), first, hosted)
	}
	w := m.call("w", first, hosted, 0)
	m.Calls[w].Write = true
	for i := range 3 {
		m.call(name("v", i), first, hosted)
	}
	for i := range 2 {
		m.call(name("o", i), second, hosted)
	}
	return m.Plan
}

// overRows is a list and a call for each of its sixteen rows, at one source.
func overRows(r *rand.Rand, source string) Plan {
	m := maker{Rand: r}
	list := m.call("list", source, database)
	for i := range 16 {
		row := m.call(fmt.Sprintf("row.%d", i), source, hosted)
		m.Calls[row].Over = list
		m.Calls[list].Rows = append(m.Calls[list].Rows, m.Calls[row].Takes)
	}
	return m.Plan
}

// failing is four calls at each of three sources, one of which refuses two, and
// four calls that depend on some of them.
func failing(r *rand.Rand) Plan {
	m := maker{Rand: r}
	var at [3]int
	for s, source := range Sources() {
		at[s] = len(m.Calls)
		for i := range 4 {
			m.call(name(source, i), source, hosted)
		}
	}
	for _, i := range r.Perm(4)[:2] {
		m.Calls[at[1]+i].Fails = true
	}
	for i, of := range []int{at[0], at[1], at[1] + 1, at[2]} {
		m.call(name("d", i), first, hosted, of)
	}
	return m.Plan
}
