package search

import (
	"iter"
	"strings"
	"unicode"

	"github.com/kljensen/snowball/english"
)

// maxJoined is of how many parts an identifier is known as one word, too:
// CronJob is asked for as cronjob, listAllTheCronJobs is not.
const maxJoined = 4

// maxStemmed is how long a word is at most that may be one of a language, in
// bytes.
const maxStemmed = 60

// cutter cuts texts into words and remembers their stems, which is what takes
// the time.
type cutter map[string]string

// words yields the words of a text as the index knows them: lower case, cut where
// letters and digits end, without what stands in every text, and each without its
// endings (Porter's second stemmer, https://snowballstem.org/algorithms/english).
// An identifier is cut where its capitals begin a new word, and what it is joined
// comes after that with whole set. Of scripts without spaces each sign is a word.
func (c cutter) words(text string) iter.Seq2[string, bool] {
	return func(yield func(word string, whole bool) bool) {
		for run := range strings.FieldsFuncSeq(text, between) {
			parts := split(run)
			for _, part := range parts {
				if s := c.stem(part); s != "" && !yield(s, false) {
					return
				}
			}
			if len(parts) < 2 || len(parts) > maxJoined {
				continue
			}
			if s := c.stem(run); s != "" && !yield(s, true) {
				return
			}
		}
	}
}

func between(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// stem returns the stem of a word; "" for one that says nothing.
func (c cutter) stem(word string) string {
	s, known := c[word]
	if !known {
		if lower := strings.ToLower(word); len(word) > maxStemmed {
			s = lower
		} else if !common[lower] {
			s = english.Stem(lower, true)
		}
		c[word] = s
	}
	return s
}

// split cuts an identifier in camelCase: before a capital that follows a small
// letter, and before the last of several capitals that a small letter follows, as
// in HTTPServer but not in APIs. Signs of scripts without spaces stand alone.
func split(run string) []string {
	var parts []string
	from := 0
	letters := []rune(run)
	at := 0 // of letters[i] in run
	for i, r := range letters {
		capital := unicode.IsUpper(r) && i > 0 && (unicode.IsLower(letters[i-1]) ||
			i > 1 && unicode.IsUpper(letters[i-1]) && unicode.IsUpper(letters[i-2]) && i+2 < len(letters) && unicode.IsLower(letters[i+1]) && unicode.IsLower(letters[i+2]))
		if at > from && (capital || alone(r) || alone(letters[i-1])) {
			parts = append(parts, run[from:at])
			from = at
		}
		at += len(string(r))
	}
	return append(parts, run[from:])
}

func alone(r rune) bool {
	return r > unicode.MaxLatin1 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

func setOf(words string) map[string]bool {
	set := make(map[string]bool)
	for w := range strings.FieldsSeq(words) {
		set[w] = true
	}
	return set
}

// common are words that say nothing of what a tool does.
var common = setOf(`a about also am an and any are as at be been but by can could did do does for from had has have he her his how i if
	in into is it its me my not of on only or our she so than that the their them then there these they this those to use used using
	want was we were what when where which who whom whose why will with would you your`)

// changes are the verbs by which somebody asks that something be changed.
var changes = setOf(`add approve archive assign attach block cancel change clear close convert copy create delete detach disable dismiss edit
	enable follow fork import install invite lock make mark merge modify move new post protect publish push put react register remove rename
	reopen replace reset restore revoke rotate run rerun schedule send set star start stop store submit subscribe transfer trigger unassign
	unblock unlock unsubscribe update upload write`)

// commands reports whether a text asks that something be changed: it has one of
// the verbs in the form of a command, or ending in -ing.
func commands(text string) bool {
	for w := range strings.FieldsFuncSeq(strings.ToLower(text), between) {
		stem, going := strings.CutSuffix(w, "ing")
		if changes[w] || going && (changes[stem] || changes[stem+"e"]) {
			return true
		}
	}
	return false
}
