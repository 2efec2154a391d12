// Package search ranks tools by what a model says that it wants to do.
//
// Job: an index over names, titles, descriptions and arguments, asked by BM25
// (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009) with
// weighted fields. It owns how texts are cut into words. It must not know what a
// tool is beyond these texts.
package search

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"
)

// Doc is what is known of one tool.
type Doc struct {
	Name, Title, Description string
	Arguments                []string // names
}

// The weights of fields: a word in a name says more than one in a text.
const (
	weightName        = 3.0
	weightTitle       = 2.0
	weightDescription = 1.0
	weightArgument    = 0.6
)

// The parameters of BM25: how soon more of the same word says nothing new, and
// how much a long text is held against it.
const (
	saturation = 1.2
	length     = 0.6
)

// nearShare is what a word counts that only begins like one that is asked for.
const nearShare = 0.4

// Index is immutable.
type Index struct {
	words   map[string][]posting
	lengths []float64 // of each doc
	mean    float64
	sorted  []string // the words
}

type posting struct {
	doc    int
	weight float64
}

// New returns an index over docs, which it does not keep.
func New(docs []Doc) *Index {
	x := &Index{words: make(map[string][]posting), lengths: make([]float64, len(docs))}
	total := 0.0
	for i, d := range docs {
		weights := map[string]float64{}
		add := func(text string, weight float64) {
			for _, w := range Words(text) {
				weights[w] += weight
				x.lengths[i] += weight
			}
		}
		add(d.Name, weightName)
		add(d.Title, weightTitle)
		add(d.Description, weightDescription)
		for _, a := range d.Arguments {
			add(a, weightArgument)
		}
		for w, weight := range weights {
			x.words[w] = append(x.words[w], posting{i, weight})
		}
		total += x.lengths[i]
	}
	x.mean = max(total/float64(max(len(docs), 1)), 1)
	for w := range x.words {
		x.sorted = append(x.sorted, w)
	}
	slices.Sort(x.sorted)
	return x
}

// Hit is one doc that was found.
type Hit struct {
	Doc   int // its place in the slice that the index was made of
	Score float64
}

// Search returns at most limit docs in the order of how well they fit, those that
// have none of the words left out. Of equal ones the earlier comes first.
func (x *Index) Search(query string, limit int) []Hit {
	scores := make([]float64, len(x.lengths))
	asked := Words(query)
	slices.Sort(asked)
	for _, w := range slices.Compact(asked) {
		x.score(scores, w, 1)
		for _, near := range x.near(w) {
			x.score(scores, near, nearShare)
		}
	}
	var hits []Hit
	for doc, s := range scores {
		if s > 0 {
			hits = append(hits, Hit{doc, s})
		}
	}
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Doc, b.Doc))
	})
	return hits[:min(len(hits), limit)]
}

// score adds what a word says of each doc.
func (x *Index) score(scores []float64, word string, share float64) {
	found := x.words[word]
	rarity := math.Log(1 + (float64(len(scores))-float64(len(found))+0.5)/(float64(len(found))+0.5))
	for _, p := range found {
		norm := 1 - length + length*x.lengths[p.doc]/x.mean
		scores[p.doc] += share * rarity * p.weight * (saturation + 1) / (p.weight + saturation*norm)
	}
}

// minNear is the least length of a word that others are found by.
const minNear, maxNear = 4, 20

// near returns words that begin with this one.
func (x *Index) near(word string) []string {
	if len(word) < minNear {
		return nil
	}
	from, _ := slices.BinarySearch(x.sorted, word)
	to := from
	for to < len(x.sorted) && to-from <= maxNear && strings.HasPrefix(x.sorted[to], word) {
		to++
	}
	return slices.DeleteFunc(slices.Clone(x.sorted[from:to]), func(w string) bool { return w == word })
}

// Words cuts a text into words as the index knows them: lower case, cut where
// letters and digits end and where camelCase begins a new one, without endings
// of number and time, and without those that stand in every text.
func Words(text string) []string {
	var out []string
	var b strings.Builder
	flush := func() {
		if w := stem(b.String()); w != "" && !common[w] {
			out = append(out, w)
		}
		b.Reset()
	}
	lower := false // the letter before is a small one
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			flush()
			lower = false
			continue
		}
		if unicode.IsUpper(r) && lower {
			flush()
		}
		lower = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	flush()
	return out
}

// stem takes off endings of English words, so few that it seldom makes one word of
// two.
func stem(w string) string {
	switch n := len(w); {
	case n > 4 && strings.HasSuffix(w, "ies"):
		return w[:n-3] + "y"
	case n > 5 && strings.HasSuffix(w, "ing"):
		return strings.TrimSuffix(w[:n-3], "e")
	case n > 4 && strings.HasSuffix(w, "ed"):
		return strings.TrimSuffix(w[:n-2], "e")
	case n > 4 && (strings.HasSuffix(w, "sses") || strings.HasSuffix(w, "xes") || strings.HasSuffix(w, "ches") || strings.HasSuffix(w, "shes")):
		return w[:n-2]
	case n > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.HasSuffix(w, "us") && !strings.HasSuffix(w, "is"):
		return strings.TrimSuffix(w[:n-1], "e")
	case n > 4 && strings.HasSuffix(w, "e"):
		return w[:n-1]
	}
	return w
}

// common are words that say nothing of a tool, in the form that stem gives them.
var common = map[string]bool{
	"a": true, "an": true, "and": true, "any": true, "are": true, "as": true, "at": true, "be": true, "by": true, "can": true,
	"for": true, "from": true, "if": true, "in": true, "into": true, "is": true, "it": true, "its": true, "of": true, "on": true, "or": true,
	"that": true, "the": true, "thi": true, "this": true, "to": true, "us": true, "use": true, "want": true, "with": true, "you": true, "your": true,
	"i": true, "me": true, "my": true, "we": true, "our": true, "will": true, "which": true, "tool": true,
}
