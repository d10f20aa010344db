package signalling

import (
	"sync"
	"time"
)

// lagMeter watches how late the machine wakes this process up, so that tests of timers can tell a late machine from a late
// causeway.
type lagMeter struct {
	mu   sync.Mutex // guards the following
	late []lateness
}

type lateness struct {
	at time.Time
	by time.Duration
}

var lag lagMeter

// run measures until the process ends.
func (l *lagMeter) run() {
	const pulse, noted = 20 * time.Millisecond, 10 * time.Millisecond
	for {
		began := time.Now()
		time.Sleep(pulse)
		if by := time.Since(began) - pulse; by > noted {
			l.mu.Lock()
			l.late = append(l.late, lateness{time.Now(), by})
			l.mu.Unlock()
		}
	}
}

// worst is the longest wait since a time.
func (l *lagMeter) worst(since time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var worst time.Duration
	for _, x := range l.late {
		if x.at.After(since) {
			worst = max(worst, x.by)
		}
	}
	return worst
}
