// Package store keeps call records. The spool is its first and only sink that is always there: text files that any
// tool can read, one call a line, one file a day.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/qos/qoe"
)

const (
	// QueueLen is how many records wait for the disk at most. It covers a disk that stands still for half a minute
	// at more than a hundred ended calls a second.
	QueueLen = 4096
	// queueBytes bounds the queue in memory too: the texts of a record come from strangers and can be long.
	queueBytes = 32 << 20
	// maxLine is the longest line written, and the longest read into memory.
	maxLine = 1 << 20
	// batchBytes is how much is gathered for one write.
	batchBytes = 256 << 10

	retryFirst = time.Second
	retryMost  = 30 * time.Second
	// purgeEvery is shorter than the day it looks for, so that a clock that was set or slept is noticed.
	purgeEvery = time.Hour
)

// Options of a spool. The zero value keeps every file and logs nothing.
type Options struct {
	// RetentionDays is how many whole UTC days behind today are kept. Older files are removed when Run starts and
	// once a day from then on. Zero keeps all.
	RetentionDays int
	// Log receives the failures to write and to remove, and the recoveries. Nil is silent.
	Log *slog.Logger
}

// Spool appends call records to <dir>/calls-YYYY-MM-DD.jsonl, where the date is the UTC day of writing. Records are
// written in the order in which Append took them.
//
// A record is safe from the death of this process once it is written, and from the death of the machine once the
// kernel has flushed it; Run flushes when it stops. One process may write to a folder at a time; any number may Read.
type Spool struct {
	dir       string
	retention int
	log       *slog.Logger
	open      func(path string) (file, error)

	wake chan struct{} // of one: something is queued

	mu     sync.Mutex // guards the following
	queue  [][]byte   // whole lines with their newlines; the writer removes them only once they are written
	queued int        // bytes in queue
	closed bool       // Run has ended, nobody will write any more

	written, dropped, failed atomic.Uint64
}

// OpenSpool makes the folder if need be and closes the last line of every file that a crash left without its
// newline, so that what is appended next starts a line of its own. It fails when it cannot. Nothing runs until Run is
// called.
func OpenSpool(dir string, o Options) (*Spool, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	days, err := listDays(dir)
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	for _, d := range days {
		if err := repair(d.path(dir)); err != nil {
			return nil, fmt.Errorf("repair the spool: %w", err)
		}
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Spool{
		dir: dir, retention: o.RetentionDays, log: log, open: openAppend, wake: make(chan struct{}, 1),
	}, nil
}

// Dir returns the folder of the spool.
func (s *Spool) Dir() string { return s.dir }

// Counters returns how many records were written, how many were dropped because the queue was full, closed or could
// not hold them, and how many attempts to write failed. A failed attempt is repeated: it alone loses nothing.
func (s *Spool) Counters() (written, dropped, failed uint64) {
	return s.written.Load(), s.dropped.Load(), s.failed.Load()
}

// Append hands the record to the writer and returns at once; r is free again when it returns. False means that the
// record is lost, and counted: the queue is full, Run has ended, or the record cannot be written as a line. It may be
// called from any goroutine, also before Run.
func (s *Spool) Append(r *qoe.Record) bool {
	line, err := r.AppendJSON(nil)
	if err == nil && len(line) >= maxLine {
		err = errTooLong
	}
	if err != nil {
		s.dropped.Add(1)
		s.log.Error("a call record cannot be written", "call", r.ID, "error", err)
		return false
	}
	if !s.push(append(line, '\n')) {
		s.dropped.Add(1)
		return false
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

func (s *Spool) push(line []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.queue) >= QueueLen || s.queued+len(line) > queueBytes {
		return false
	}
	s.queue = append(s.queue, line)
	s.queued += len(line)
	return true
}

// gather appends the oldest lines to buf and says how many they are. They stay queued.
func (s *Spool) gather(buf []byte) ([]byte, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, line := range s.queue {
		if n > 0 && len(buf)+len(line) > batchBytes {
			return buf, n
		}
		buf = append(buf, line...)
	}
	return buf, len(s.queue)
}

// release removes the n oldest lines.
func (s *Spool) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.queue[:n] {
		s.queued -= len(line)
	}
	s.queue = slices.Delete(s.queue, 0, n)
}

// Run writes what Append hands over and removes old files, until ctx ends. It then writes what is still queued,
// flushes it to the disk and returns. A write that fails is repeated, first after a second, later every half minute;
// only when the last one fails too are the queued records given up, counted as dropped, and the error returned.
// Run may be called once.
func (s *Spool) Run(ctx context.Context) error {
	purge := time.NewTicker(purgeEvery)
	defer purge.Stop()
	purged := s.purge(time.Time{})
	var retry <-chan time.Time // not nil while writing fails
	wait := retryFirst
	for {
		wake := s.wake
		if retry != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return s.finish()
		case <-purge.C:
			purged = s.purge(purged)
			continue
		case <-wake:
		case <-retry:
		}
		err := s.drain()
		if err == nil {
			if retry != nil {
				s.log.Info("the spool is written again", "dir", s.dir)
			}
			retry, wait = nil, retryFirst
			continue
		}
		if retry == nil {
			s.log.Error("the spool cannot be written; records wait in memory", "dir", s.dir, "error", err)
		}
		retry = time.After(wait)
		wait = min(2*wait, retryMost)
	}
}

// drain writes until the queue is empty or a write fails.
func (s *Spool) drain() error {
	buf := make([]byte, 0, 4096)
	for {
		var n int
		buf, n = s.gather(buf[:0])
		if n == 0 {
			return nil
		}
		if err := s.write(today(time.Now()).path(s.dir), buf); err != nil {
			s.failed.Add(1)
			return err
		}
		s.release(n)
		s.written.Add(uint64(n))
	}
}

// finish is the end of Run. The queue closes before it is drained, so that nothing can slip in behind the last write.
func (s *Spool) finish() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	err := s.drain()
	s.mu.Lock()
	lost := len(s.queue)
	s.queue, s.queued = nil, 0
	s.mu.Unlock()
	s.dropped.Add(uint64(lost))
	if lost > 0 {
		return fmt.Errorf("write the spool: %d records are lost: %w", lost, err)
	}
	if err := flush(s.dir); err != nil {
		return fmt.Errorf("flush the spool: %w", err)
	}
	return nil
}

// purge removes files older than the retention when the day has changed since the last time, and returns the day it
// has been done for.
func (s *Spool) purge(last time.Time) time.Time {
	now := today(time.Now())
	if s.retention <= 0 || now.date.Equal(last) {
		return now.date
	}
	days, err := listDays(s.dir)
	if err != nil {
		s.log.Error("old call records cannot be listed", "dir", s.dir, "error", err)
		return last
	}
	oldest := now.date.AddDate(0, 0, -s.retention)
	for _, d := range days {
		if !d.date.Before(oldest) {
			continue
		}
		if rerr := os.Remove(d.path(s.dir)); rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		s.log.Info("old call records are removed", "day", d.String(), "retention_days", s.retention)
	}
	if err != nil {
		s.log.Error("old call records cannot be removed", "dir", s.dir, "error", err)
		return last
	}
	return now.date
}
