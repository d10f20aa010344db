package route

// Count is how much passed.
type Count struct {
	Packets uint64
	Bytes   uint64 // of application data, without TURN's headers
}

// Flow is what passed in one direction of a path, and what it was.
type Flow struct {
	Count
	Meter Meter
}

// Feed takes note of one datagram's application data, which arrived at a time in
// nanoseconds since the Unix epoch. It keeps nothing of it.
func (f *Flow) Feed(at int64, payload []byte) {
	f.Packets++
	f.Bytes += uint64(len(payload))
	f.Meter.Feed(at, payload)
}
