// Package search ranks tools by what a model says that it wants to do.
//
// Job: an index over what tools say of themselves, asked by BM25F, which is BM25
// with fields of different weight and length (Robertson and Zaragoza, The
// Probabilistic Relevance Framework, 2009, section 3.6). It owns how texts are cut
// into words, and the weights, which recall_test.go measures. It must not know
// what a tool is beyond its texts, nor who may see it.
package search

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
)

// Doc is what is known of one tool.
type Doc struct {
	Name, Title, Description string
	Arguments                []string // names
	Details                  string   // what is said of the arguments and their values
	Effect                   Effect
}

// Effect says whether a tool changes anything.
type Effect uint8

// The effects.
const (
	Unsaid Effect = iota
	Reads
	Writes
)

// maxText is how much is read of any text, in bytes.
const maxText = 4 << 10

// The fields of a doc. The first sentence says what a tool does, the rest more of
// how.
const (
	inName = iota
	inTitle
	inFirst
	inRest
	inArguments
	inDetails
	fields
)

// weights say how much a word counts by the field that it stands in, and how much
// it counts against a field that it is long.
var weights = [fields]struct{ word, length float64 }{
	inName: {2, 0.6}, inTitle: {2, 0.6}, inFirst: {2, 0.6}, inRest: {0.3, 0.5}, inArguments: {0.4, 0.5}, inDetails: {0.4, 0.8},
}

const (
	saturation  = 0.8 // how soon more of the same word says nothing new
	nearShare   = 0.7 // what a word counts that begins with the one asked for, but for its length
	headShare   = 1.0 // what it is worth that the question names all of the head
	effectShare = 0.3 // what it is worth that a tool reads, or writes, as it is asked to
)

// Index is immutable. It may be asked from many goroutines at once.
type Index struct {
	words   map[string][]posting
	sorted  []string // the words
	effects []Effect
	heads   []float32 // the rarities of all words of each head together
	spare   sync.Pool // of *tally
}

// posting is one word in one doc.
type posting struct {
	doc    int32
	weight float32
	head   bool // it is one of the words of the title; of the name, where there is no title
}

// New returns an index over docs, which it does not keep.
func New(docs []Doc) *Index {
	x := &Index{words: make(map[string][]posting), effects: make([]Effect, len(docs)), heads: make([]float32, len(docs))}
	x.spare.New = func() any { return newTally(len(docs)) }
	cut := make(cutter)
	counted := make([]counts, len(docs))
	var mean [fields]float64
	for i, d := range docs {
		x.effects[i] = d.Effect
		counted[i] = count(cut, d)
		for f, n := range counted[i].length {
			mean[f] += n / float64(len(docs))
		}
	}
	for i := range counted {
		for word, times := range counted[i].times {
			p := posting{doc: int32(i)} //nolint:gosec // there are not two billion tools
			for f, n := range times {
				w := weights[f]
				p.weight += float32(float64(n) * w.word / (1 - w.length + w.length*counted[i].length[f]/max(mean[f], 1)))
			}
			p.head = times[inTitle] > 0 || counted[i].length[inTitle] == 0 && times[inName] > 0
			x.words[word] = append(x.words[word], p)
		}
	}
	for word, found := range x.words {
		x.sorted = append(x.sorted, word)
		for _, p := range found {
			if p.head {
				x.heads[p.doc] += float32(x.rarity(len(found)))
			}
		}
	}
	slices.Sort(x.sorted)
	return x
}

// counts says how often each word stands in each field of a doc, and how long the
// fields are in words.
type counts struct {
	times  map[string]*[fields]uint16
	length [fields]float64
}

func count(cut cutter, d Doc) counts {
	first, rest := sentence(d.Description)
	texts := [fields]string{
		inName: d.Name, inTitle: d.Title, inFirst: first, inRest: rest,
		inArguments: strings.Join(d.Arguments, " "), inDetails: d.Details,
	}
	c := counts{times: make(map[string]*[fields]uint16)}
	for f, text := range texts {
		for word, whole := range cut.words(text[:min(len(text), maxText)]) {
			if c.times[word] == nil {
				c.times[word] = new([fields]uint16)
			}
			c.times[word][f]++
			if !whole {
				c.length[f]++
			}
		}
	}
	return c
}

// sentence parts the first sentence of a text from the rest.
func sentence(text string) (first, rest string) {
	text = strings.TrimSpace(text[:min(len(text), maxText)])
	end := len(text)
	for _, mark := range []string{". ", ".\n", "\n\n", "! ", "? "} {
		if i := strings.Index(text, mark); i >= 0 {
			end = min(end, i)
		}
	}
	return text[:end], text[end:]
}

// rarity is what a word says that stands in so many docs.
func (x *Index) rarity(docs int) float64 {
	n := float64(docs)
	return math.Log(1 + (float64(len(x.effects))-n+0.5)/(n+0.5))
}

// Hit is one doc that was found.
type Hit struct {
	Doc   int // its place in the slice that the index was made of
	Score float64
}

// maxAsked is how many words of a question count.
const maxAsked = 64

// Search returns at most limit docs that fit a question, best first, and how many
// fit at all. A doc fits that has one of its words, or one that begins so, and
// that keep, unless it is nil, says yes to. Of equal ones the earlier comes first.
func (x *Index) Search(question string, keep func(doc int) bool, limit int) (best []Hit, fit int) {
	t := x.spare.Get().(*tally)
	defer x.spare.Put(t)
	asked := make([]string, 0, 16)
	question = question[:min(len(question), maxText)]
	for word := range make(cutter).words(question) {
		if len(asked) < maxAsked && !slices.Contains(asked, word) {
			asked = append(asked, word)
		}
	}
	total := 0.0
	for _, word := range asked {
		total += x.ask(t, word)
	}
	wanted := Reads
	if commands(question) {
		wanted = Writes
	}
	for _, doc := range t.found {
		score := t.scores[doc] * t.seen[doc] / total * (1 + headShare*float64(min(t.heads[doc]/max(x.heads[doc], 0.01), 1)))
		switch x.effects[doc] {
		case wanted:
			score *= 1 + effectShare
		case Unsaid:
			score *= 1 + effectShare/2
		}
		t.clear(doc)
		if keep == nil || keep(int(doc)) {
			best, fit = insert(best, Hit{int(doc), score}, limit), fit+1
		}
	}
	t.found = t.found[:0]
	return best, fit
}

// insert puts a hit into its place among the best so far.
func insert(best []Hit, h Hit, limit int) []Hit {
	at, _ := slices.BinarySearchFunc(best, h, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Doc, b.Doc))
	})
	if at >= limit {
		return best
	}
	return slices.Insert(best[:min(len(best), limit-1)], at, h)
}

// tally is what a search adds up, for each doc. It is empty between two searches.
type tally struct {
	scores, seen []float64 // how well it fits, and what of the question it has
	heads        []float32 // what of its head is in the question
	best         []float32 // of the word at hand
	found        []int32   // docs with a score
	touched      []int32   // those that have the word at hand
}

func newTally(docs int) *tally {
	return &tally{scores: make([]float64, docs), seen: make([]float64, docs), heads: make([]float32, docs), best: make([]float32, docs)}
}

func (t *tally) clear(doc int32) { t.scores[doc], t.seen[doc], t.heads[doc] = 0, 0, 0 }

// ask adds what one word of a question says of each doc, and returns what it says
// at most. A doc that has it in several forms counts by the best of them.
func (x *Index) ask(t *tally, word string) float64 {
	for form, share := range x.forms(word) {
		found := x.words[form]
		rarity := float32(x.rarity(len(found)))
		for _, p := range found {
			if t.best[p.doc] == 0 {
				t.touched = append(t.touched, p.doc)
			}
			t.best[p.doc] = max(t.best[p.doc], p.weight*share)
			if p.head {
				t.heads[p.doc] += rarity * share
			}
		}
	}
	n := len(x.words[word])
	if n == 0 {
		n = len(t.touched)
	}
	rarity := x.rarity(n)
	for _, doc := range t.touched {
		if t.seen[doc] == 0 {
			t.found = append(t.found, doc)
		}
		weight := float64(t.best[doc])
		full := weight * (saturation + 1) / (weight + saturation)
		t.scores[doc] += rarity * full
		t.seen[doc] += rarity * min(full, 1)
		t.best[doc] = 0
	}
	if len(t.touched) == 0 {
		return 0
	}
	t.touched = t.touched[:0]
	return rarity
}

// minNear is the least length of a word that others are found by; maxNear, how
// many.
const minNear, maxNear = 4, 40

// forms yields the words of the index that a word may mean: itself, and those that
// begin with it, which count less the longer they are.
func (x *Index) forms(word string) func(yield func(string, float32) bool) {
	return func(yield func(string, float32) bool) {
		at, there := slices.BinarySearch(x.sorted, word)
		if there {
			if !yield(word, 1) {
				return
			}
			at++
		}
		if len(word) < minNear {
			return
		}
		rest := x.sorted[at:]
		for _, near := range rest[:min(len(rest), maxNear)] {
			if !strings.HasPrefix(near, word) {
				return
			}
			if !yield(near, nearShare*float32(len(word))/float32(len(near))) {
				return
			}
		}
	}
}
