package route

// window is over how long the advance of a timestamp is compared with time, in
// nanoseconds: long enough that a packet which came 40 ms late doesn't matter.
const (
	window    = 2 * second
	maxWindow = 60 * second // after a longer pause the timestamp may mean something else
)

// comfortNoise is the payload type that goes with any narrow-band codec (RFC 3389).
const comfortNoise = 13

// staticRate is the clock rate of payload types that have one by assignment (RFC
// 3551 section 6); 0 for the others.
var staticRate = [128]uint32{
	0: 8000, 3: 8000, 4: 8000, 5: 8000, 6: 16000, 7: 8000, 8: 8000, 9: 8000,
	10: 44100, 11: 44100, 12: 8000, comfortNoise: 8000, 14: 90000, 15: 8000,
	16: 11025, 17: 22050, 18: 8000, 25: 90000, 26: 90000, 28: 90000,
	31: 90000, 32: 90000, 33: 90000, 34: 90000,
}

// rates are those that a clock can be found to have.
var rates = [...]uint32{8000, 12000, 16000, 24000, 32000, 44100, 48000, 90000}

// clock finds the rate of a stream's timestamp: by its payload type or, where that
// says nothing, by how far the timestamp goes in two seconds.
type clock struct {
	from  int64 // when the window began, and with what
	start uint32
	open  bool // there is a window

	rate  uint32 // ticks a second; 0 while it is unknown
	other uint32 // what the last window found, if not rate: to be confirmed
}

// restart forgets how timestamp and time stood to one another.
func (c *clock) restart() { c.open = false }

// follow takes note of a timestamp and of when it arrived. It reports whether the
// rate is another one now.
func (c *clock) follow(at int64, h header) (changed bool) {
	if rate := staticRate[h.payload]; rate != 0 {
		c.open, c.other = false, 0
		if h.payload == comfortNoise && c.rate != 0 {
			return false
		}
		return c.set(rate)
	}
	passed := at - c.from
	if c.open && passed >= 0 && passed < window {
		return false
	}
	advanced := h.timestamp - c.start
	fresh := !c.open || passed < 0 || passed > maxWindow
	c.open, c.from, c.start = true, at, h.timestamp
	if fresh {
		return false
	}
	return c.found(nearest(float64(advanced) * second / float64(passed)))
}

// found takes over what a window found. The first finding is believed; another rate
// than the known one has to be found twice.
func (c *clock) found(rate uint32) (changed bool) {
	switch {
	case rate == 0 || rate == c.rate:
		c.other = 0
		return false
	case c.rate == 0 || c.other == rate:
		c.other = 0
		return c.set(rate)
	}
	c.other = rate
	return false
}

func (c *clock) set(rate uint32) (changed bool) {
	changed = c.rate != rate
	c.rate = rate
	return changed
}

// nearest returns the rate that is within 4 % of a measured one, or 0. That keeps
// the closest two, 44,100 and 48,000, apart.
func nearest(measured float64) uint32 {
	for _, rate := range rates {
		if r := float64(rate); measured > 0.96*r && measured < 1.04*r {
			return rate
		}
	}
	return 0
}
