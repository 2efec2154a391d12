package credentials

// Reveal lets tests see a secret; nothing else can.
func Reveal(s Secret) string { return s.reveal() }
