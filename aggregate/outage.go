package aggregate

import (
	"sync"
	"sync/atomic"
	"time"
)

// Absence is why a source as a whole cannot be used; "" if it can.
type Absence string

// The absences; the first that applies counts.
const (
	AwayLogin   Absence = "needs_login"  // a person has to sign in
	AwayDown    Absence = "down"         // there is no connection
	AwayCircuit Absence = "circuit_open" // it has failed too often
	AwayFrozen  Absence = "frozen"       // it asked to be left alone
)

const (
	// quietFor is the least time between two announcements of one source.
	quietFor = 10 * time.Second
	// maxTold is how many conversations are remembered that were told of an
	// outage and not yet of its end, and debtLasts for how long.
	maxTold   = 1000
	debtLasts = time.Hour
)

// outages remembers when one source could not be used, and who was told so:
// these are told when it is back. An outage begins with the first who is told,
// and ends with the first sign that the source answers. The zero value is ready
// for use.
type outages struct {
	active atomic.Bool // there is one, or somebody to be told: to be looked at without the lock

	mu        sync.Mutex
	now       outage    // the present one; why is "" if there is none
	link      bool      // a new connection ends it
	last      outage    // the one before
	warned    time.Time // when the beginning of one was announced last
	announced time.Time // the same of an end
	timer     *time.Timer
	stopped   bool
	told      map[party]*debt
}

// outage is one time in which a source could not be used.
type outage struct {
	why          Absence
	since, ended time.Time
}

// debt is what is owed to one conversation that was told of an outage.
type debt struct {
	outage
	noticed bool // of its end, by a notification
}

// begin notes that somebody is told that the source cannot be used. It reports
// whether the operator should hear of it: once for each outage, and not too
// often.
func (o *outages) begin(why Absence, link bool, p party) (warn bool) {
	at := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	// A source that asked for a login was there: if now it fails, that is as of now.
	if o.now.why == "" || o.now.why == AwayLogin && why != AwayLogin {
		o.now.since = at
		if warn = at.Sub(o.warned) >= quietFor; warn {
			o.warned = at
		}
	}
	o.now.why, o.link = why, link
	d := o.told[p]
	if d == nil {
		o.makeRoom(at)
		d = &debt{outage: o.now}
		o.told[p] = d
	}
	if d.noticed {
		d.since = o.now.since
	} // else it hears of both as one
	d.why, d.ended, d.noticed = why, time.Time{}, false
	o.active.Store(true)
	return warn
}

// makeRoom has room for one more to be told. o.mu is held.
func (o *outages) makeRoom(at time.Time) {
	if o.told == nil {
		o.told = make(map[party]*debt)
	}
	o.expire(at)
	for p := range o.told { // any
		if len(o.told) < maxTold {
			return
		}
		delete(o.told, p)
	}
}

// expire forgets those who have not come back. o.mu is held.
func (o *outages) expire(at time.Time) {
	for p, d := range o.told {
		if !d.ended.IsZero() && at.Sub(d.ended) > debtLasts {
			delete(o.told, p)
		}
	}
}

// present returns the outage that there is now, and the last one that is over.
func (o *outages) present() (now, last outage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now, o.last
}

// end ends the present outage; one that a new connection does not end stays if
// that is the sign. announce is called at once or, if there was an end just
// before, later.
func (o *outages) end(link bool, announce func()) {
	at := time.Now()
	o.mu.Lock()
	if o.now.why == "" || link && !o.link {
		o.mu.Unlock()
		return
	}
	o.now.ended = at
	o.last, o.now = o.now, outage{}
	for _, d := range o.told {
		if d.ended.IsZero() {
			d.ended = at
		}
	}
	wait := quietFor - at.Sub(o.announced)
	if wait > 0 && o.timer == nil && !o.stopped {
		o.timer = time.AfterFunc(wait, announce)
	}
	o.mu.Unlock()
	if wait <= 0 {
		announce()
	}
}

// ready returns whom to tell that the last outage is over. It reports false while
// the source is away again, and at the end.
func (o *outages) ready() (last outage, to []party, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timer = nil
	if o.now.why != "" || o.stopped {
		return last, nil, false
	}
	o.announced = time.Now()
	for p, d := range o.told {
		if !d.noticed {
			to = append(to, p)
		}
	}
	return o.last, to, true
}

// notice takes what a conversation is to be told by a notification.
func (o *outages) notice(p party) (outage, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.told[p]
	if d == nil || d.ended.IsZero() || d.noticed {
		return outage{}, false
	}
	d.noticed = true
	return d.outage, true
}

// carry takes what a conversation is to be told by a result; that settles it.
func (o *outages) carry(p party) (outage, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.told[p]
	if d != nil && !d.ended.IsZero() {
		delete(o.told, p)
	} else {
		d = nil
	}
	if at := time.Now(); o.now.why == "" && at.Sub(o.last.ended) > debtLasts {
		o.expire(at)
	}
	o.active.Store(o.now.why != "" || len(o.told) > 0)
	if d == nil {
		return outage{}, false
	}
	return d.outage, true
}

// succeed takes over from the outages of the member that was in this one's place:
// a change of the settings is often what brings a source back, and who was told of
// the outage has asked the other one.
func (o *outages) succeed(before *outages) {
	before.mu.Lock()
	now, link, last, told := before.now, before.link, before.last, before.told
	warned, announced := before.warned, before.announced
	before.now, before.told = outage{}, nil
	before.active.Store(false)
	before.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now, o.link, o.last, o.told = now, link, last, told
	o.warned, o.announced = warned, announced
	o.active.Store(now.why != "" || len(told) > 0)
}

// stop announces nothing any more.
func (o *outages) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
	if o.timer != nil {
		o.timer.Stop()
	}
}
