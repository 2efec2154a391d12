package credentials

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// refresh is the work of a flight: what the store has, if that is another token
// than ours, or else a new one.
func (r *Refresher) refresh(ctx context.Context) (Token, *TokenError) {
	unlock, failure := r.lock(ctx)
	if failure != nil {
		return Token{}, failure
	}
	defer unlock()
	from, other, err := r.newest(ctx)
	switch {
	case err != nil:
		return Token{}, r.trouble(Misconfigured, err)
	case other && !from.Access.IsZero() && time.Until(from.Expiry) > time.Second:
		return from, nil
	case r.stuck != nil && from.equal(r.tried):
		return Token{}, r.stuck
	}
	r.tried, r.stuck = from, nil
	t, err := r.spec.Fetch(ctx, from)
	if err == nil && !validFieldValue(t.Access.reveal()) {
		err = errors.New("the answer has no token, or one that no header field can carry")
	}
	if err != nil {
		failure := r.trouble(Transient, err)
		if _, ok := errors.AsType[elsewhere](err); !ok && failure.Trouble != Transient {
			r.stuck = failure
		}
		return Token{}, failure
	}
	t = r.dated(t)
	_ = r.save(ctx, t) // is reported; the token is good all the same
	return t, nil
}

// newest returns the token to go on from: ours, unless the store has been
// written since we last looked. Then other is set.
func (r *Refresher) newest(ctx context.Context) (t Token, other bool, err error) {
	r.mu.Lock()
	t = r.last
	r.mu.Unlock()
	if r.spec.Store == nil {
		return t, false, nil
	}
	kept, err := r.spec.Store.Load(ctx, r.spec.ID)
	if err != nil && !errors.Is(err, ErrNoToken) {
		return Token{}, false, err
	}
	if kept.equal(r.stored) {
		return t, false, nil
	}
	r.stored = kept // by a login or a logout elsewhere, or by another process's refresh
	r.mu.Lock()
	r.last, r.unsaved = kept, nil
	r.mu.Unlock()
	return kept, !kept.Same(t), nil
}

// lock keeps other processes out. A store that cannot lock is no reason to go
// without a token.
func (r *Refresher) lock(ctx context.Context) (unlock func(), failure *TokenError) {
	if r.spec.Store == nil {
		return func() {}, nil
	}
	unlock, err := r.spec.Store.Lock(ctx, r.spec.ID)
	switch {
	case err == nil:
		return unlock, nil
	case ctx.Err() != nil:
		return nil, r.trouble(Transient, fmt.Errorf("another process has its lock: %w", err))
	}
	r.report(fmt.Errorf("%s: the token's lock: %w", r.spec.Name, err))
	return func() {}, nil
}

// save makes t outlive the process, before anybody has it.
func (r *Refresher) save(ctx context.Context, t Token) error {
	if r.spec.Store == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit) // what was fetched is not to be lost
	defer cancel()
	err := r.spec.Store.Save(ctx, r.spec.ID, t)
	if err == nil {
		r.stored = t
	} else {
		err = fmt.Errorf("%s: the token could not be saved, and is lost when the process ends: %w", r.spec.Name, err)
		r.report(err)
	}
	r.mu.Lock()
	r.unsaved = err
	r.mu.Unlock()
	return err
}

// dated gives t an end if it has none, or one that is past: a token that comes
// now is good for something.
func (r *Refresher) dated(t Token) Token {
	now := time.Now().Round(0) // by the wall clock: time that a computer sleeps through counts
	if t.Expiry = t.Expiry.Round(0); !t.Expiry.After(now) {
		t.Expiry = now.Add(r.spec.TTL)
	}
	return t
}

// trouble makes err a TokenError of ours; class is for what is none yet.
func (r *Refresher) trouble(class Trouble, err error) *TokenError {
	if e, ok := errors.AsType[*TokenError](err); ok {
		own := *e
		own.Name = r.spec.Name
		return &own
	}
	return &TokenError{Name: r.spec.Name, Trouble: class, Err: err}
}

// Put replaces the token by what a person's signing in has brought, and saves
// it. An error says that it could not be saved; it is used all the same, unless
// ctx ended first.
func (r *Refresher) Put(ctx context.Context, t Token) error {
	return change(ctx, r, func(ctx context.Context) (Token, error) {
		t = r.dated(t)
		r.stuck = nil
		return t, r.save(ctx, t)
	})
}

// Forget deletes the token, here and in the store. An error says that it is
// still in the store; this source has it no more, unless ctx ended first.
func (r *Refresher) Forget(ctx context.Context) error {
	return change(ctx, r, func(ctx context.Context) (Token, error) {
		if r.spec.Store != nil {
			if err := r.spec.Store.Delete(ctx, r.spec.ID); err != nil {
				return Token{}, err
			}
		}
		r.stored, r.stuck = Token{}, nil
		return Token{}, nil
	})
}

// change has to say what the token of r is from now on, alone in all processes. The
// error is that of to, or says that it did not come to that.
func change(ctx context.Context, r *Refresher, to func(context.Context) (Token, error)) error {
	var err error
	if ended := r.alone(ctx, func(ctx context.Context) (t Token, failure *TokenError) {
		unlock, failure := r.lock(ctx)
		if failure != nil {
			return Token{}, failure
		}
		defer unlock()
		t, err = to(ctx)
		return t, nil
	}); ended != nil {
		return ended
	}
	return err
}

// alone does work as the flight after the one under way.
func (r *Refresher) alone(ctx context.Context, work func(context.Context) (Token, *TokenError)) error {
	for {
		r.mu.Lock()
		f, own := r.flight, r.flight == nil
		switch {
		case r.closed:
			f = nil
		case own:
			f = r.begin(ctx, work)
		}
		r.mu.Unlock()
		if f == nil {
			return r.trouble(Transient, errClosed)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return r.trouble(Transient, context.Cause(ctx))
		}
		switch {
		case !own:
		case f.err != nil:
			return f.err
		default:
			return nil
		}
	}
}
