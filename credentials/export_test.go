package credentials

// Reveal lets tests see a secret; nothing else can.
func Reveal(s Secret) string { return s.reveal() }

// OnCrash sets what happens between writing a file and giving it its name.
func (s *FileStore) OnCrash(f func()) { s.crash = f }

// Locks returns how many locks are held or waited for.
func (m *MemoryStore) Locks() int { return len(m.locks.names) }
