package gate

// Plans returns how many plans are remembered.
func (b *Bulkhead) Plans() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.crews) + len(b.places)
}

// Plans returns how many are remembered, here and in lines.
func (o *Order) Plans() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.plans) + len(o.lines) + o.counted
}
