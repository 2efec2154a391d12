package rawjson

// maxIndexed is how many members of one object [Index] notes. An object with
// more is none that anybody looks things up in, and noting them all would let a
// small text take much memory.
const maxIndexed = 64

// Index is [Check] that also returns the members of the object b, and those of
// the object that its member called within is, all from the one pass: walking
// through a long text again takes as long as checking it. outer and inner are
// what [Members] yields of b and of that member's value; each is nil if there
// is no such object, it is empty, or it has too many members to note.
func Index(b []byte, lim Limits, within string) (outer, inner []Member, err error) {
	idx := &index{within: within}
	idx.outer.members = idx.room[0][:0]
	if err := check(b, lim, idx); err != nil {
		return nil, nil, err
	}
	return idx.outer.noted(), idx.inner.noted(), nil
}

// index notes members while the checker walks.
type index struct {
	within       string
	inside       bool // the walk is in the value of the outer member called within
	base         int  // where that value begins
	outer, inner memberList
	room         [2][4]Member // for as many as a message has, and a result
}

// memberList is a list of members, or that there are too many.
type memberList struct {
	members []Member
	over    bool
}

func (l *memberList) note(m Member) {
	if len(l.members) == maxIndexed {
		l.over = true
		return
	}
	l.members = append(l.members, m)
}

func (l *memberList) noted() []Member {
	if l.over || len(l.members) == 0 {
		return nil
	}
	return l.members
}

// enter is told of a member of an object at this depth whose value begins at.
func (x *index) enter(depth int, quoted []byte, at int) {
	if depth == 1 && name(quoted) == x.within {
		x.inside, x.base, x.inner = true, at, memberList{members: x.room[1][:0]}
	}
}

// leave is told of the same member with its name at from:to and its value at
// at:end.
func (x *index) leave(depth int, b []byte, from, to, at, end int) {
	switch {
	case depth == 1:
		x.inside = false
		x.outer.note(Member{Name: name(b[from:to]), Value: b[at:end:end], Start: from, End: end})
	case depth == 2 && x.inside:
		x.inner.note(Member{Name: name(b[from:to]), Value: b[at:end:end], Start: from - x.base, End: end - x.base})
	}
}
