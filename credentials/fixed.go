package credentials

import "context"

// Fixed returns a source of one token that never changes: what is exchanged for
// others, or was handed out for good.
func Fixed(token Secret) Source { return fixed{token} }

type fixed struct{ token Secret }

// Token implements [Source].
func (f fixed) Token(context.Context) (Token, error) { return Token{Access: f.token}, nil }

// Invalidate implements [Source]; there is no other token.
func (fixed) Invalidate(Token) {}
