package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"causeway/qos/qoe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func call(id string, end time.Time) *qoe.Record {
	return &qoe.Record{ID: id, Direction: qoe.PoolToGateway, Invite: end.Add(-time.Minute), End: end, Code: 200}
}

func open(t *testing.T, dir string, o Options) *Spool {
	t.Helper()
	s, err := OpenSpool(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts the writer and returns what stops it and waits for it.
func run(s *Spool) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// save writes the calls through a spool of its own.
func save(t *testing.T, dir string, ids ...string) {
	t.Helper()
	s := open(t, dir, Options{})
	for _, id := range ids {
		if !s.Append(call(id, time.Now())) {
			t.Fatalf("call %s was dropped", id)
		}
	}
	if err := run(s)(); err != nil {
		t.Fatal(err)
	}
}

// load returns the ids of the calls and the errors met between them.
func load(dir string, since time.Time) (ids []string, errs []error) {
	for r, err := range Read(dir, since) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, r.ID)
	}
	return ids, errs
}

func wantCalls(t *testing.T, dir string, since time.Time, want ...string) {
	t.Helper()
	ids, errs := load(dir, since)
	if len(errs) > 0 {
		t.Errorf("reading: %v", errors.Join(errs...))
	}
	if got := strings.Join(ids, " "); got != strings.Join(want, " ") {
		t.Errorf("read %q, want %q", got, want)
	}
}

func wantCounters(t *testing.T, s *Spool, written, dropped, failed uint64) {
	t.Helper()
	if w, d, f := s.Counters(); w != written || d != dropped || f != failed {
		t.Errorf("written, dropped, failed = %d, %d, %d, want %d, %d, %d", w, d, f, written, dropped, failed)
	}
}

func TestDaysAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at 2000-01-01 00:00 UTC
		dir := filepath.Join(t.TempDir(), "spool")
		s := open(t, dir, Options{RetentionDays: 2})
		for name, keep := range map[string]bool{
			"calls-1999-12-29.jsonl": false, "calls-1999-12-30.jsonl": true,
			"calls-1999-12-01.jsonl.gz": true, "calls-1999-13-01.jsonl": true, "notes-1999-12-01.jsonl": true,
		} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			defer func() {
				// Three days on, the retention has reached the second file too; the foreign ones stay.
				_, err := os.Stat(path)
				if gone := errors.Is(err, fs.ErrNotExist); gone != (!keep || name == "calls-1999-12-30.jsonl") {
					t.Errorf("%s: %v", name, err)
				}
			}()
		}
		stop := run(s)
		synctest.Wait()
		if days, err := listDays(dir); err != nil || len(days) != 1 || days[0].String() != "1999-12-30" {
			t.Errorf("kept %v, %v", days, err)
		}

		start := time.Now()
		s.Append(call("a", time.Now()))
		time.Sleep(24*time.Hour - time.Nanosecond)
		s.Append(call("b", time.Now()))
		synctest.Wait()
		time.Sleep(time.Nanosecond)
		s.Append(call("c", time.Now()))
		synctest.Wait()
		wantCalls(t, dir, time.Time{}, "a", "b", "c")
		wantCalls(t, dir, start.Add(24*time.Hour-time.Nanosecond), "b", "c")
		for _, day := range []string{"2000-01-01", "2000-01-02"} {
			if _, err := os.Stat(filepath.Join(dir, "calls-"+day+".jsonl")); err != nil {
				t.Error(err)
			}
		}

		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		wantCalls(t, dir, time.Time{}, "c")
		if err := stop(); err != nil {
			t.Error(err)
		}
		wantCounters(t, s, 3, 0, 0)
	})
}

// TestTornAtEveryByte cuts the file at every byte of its last record, as a dying machine does, and demands that
// everything before the cut and everything written afterwards is read.
func TestTornAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "first", "second", "last")
	days, err := listDays(dir)
	if err != nil || len(days) != 1 {
		t.Skipf("midnight passed: %v, %v", days, err)
	}
	path := days[0].path(dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start := strings.LastIndex(strings.TrimSuffix(string(whole), "\n"), "\n") + 1
	for cut := start; cut <= len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		before, beforeErrs := load(dir, time.Time{})
		save(t, dir, "next")
		after, afterErrs := load(dir, time.Time{})

		want, torn := "first second", 0
		switch {
		case cut >= len(whole)-1: // only the newline is missing: the record is whole
			want += " last"
		case cut > start:
			torn = 1
		}
		if got := strings.Join(before, " "); got != want || len(beforeErrs) != torn {
			t.Fatalf("cut at %d: read %q with %v before the repair, want %q and %d errors", cut-start, got, beforeErrs, want, torn)
		}
		if torn > 0 && !errors.Is(beforeErrs[0], ErrTorn) {
			t.Fatalf("cut at %d: error %v, want ErrTorn", cut-start, beforeErrs[0])
		}
		if got := strings.Join(after, " "); got != want+" next" || len(afterErrs) != torn {
			t.Fatalf("cut at %d: read %q with %v after the repair, want %q and %d errors", cut-start, got, afterErrs, want+" next", torn)
		}
		var line *LineError
		if torn > 0 && (!errors.As(afterErrs[0], &line) || line.Line != 3 || line.File != path) {
			t.Fatalf("cut at %d: error %v, want one for line 3", cut-start, afterErrs[0])
		}
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	now := time.Now()
	for i := range QueueLen {
		if !s.Append(call(fmt.Sprint(i), now)) {
			t.Fatalf("record %d was dropped", i)
		}
	}
	for range 3 {
		if s.Append(call("over", now)) {
			t.Error("a full queue took a record")
		}
	}
	wantCounters(t, s, 0, 3, 0)
	if err := run(s)(); err != nil {
		t.Fatal(err)
	}
	wantCounters(t, s, QueueLen, 3, 0)
	if s.Append(call("late", now)) {
		t.Error("a spool that has ended took a record")
	}
	wantCounters(t, s, QueueLen, 4, 0)
	ids, errs := load(dir, time.Time{})
	if len(ids) != QueueLen || len(errs) > 0 || ids[QueueLen-1] != fmt.Sprint(QueueLen-1) {
		t.Errorf("read %d records and %v", len(ids), errs)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	big := call("big", time.Now())
	big.Reason = strings.Repeat("x", maxLine/2)
	taken := 0
	for s.Append(big) {
		taken++
	}
	if taken < 60 || taken > 64 {
		t.Errorf("took %d records of half a MiB, want what fits in %d MiB", taken, queueBytes>>20)
	}
	big.Reason = strings.Repeat("x", maxLine)
	if small := open(t, t.TempDir(), Options{}); small.Append(big) {
		t.Error("took a record that no reader would accept")
	}
}

func lineOf(t *testing.T, r *qoe.Record) []byte {
	t.Helper()
	line, err := r.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(line, '\n')
}

// TestConcurrentAppendAndRead appends from many goroutines while others read: every record arrives once, those of one
// goroutine in its order, and a reader meets at most the last line torn.
func TestConcurrentAppendAndRead(t *testing.T) {
	const writers, each = 8, 200
	dir := t.TempDir()
	s := open(t, dir, Options{})
	stop := run(s)
	var appends, reads sync.WaitGroup
	for w := range writers {
		appends.Go(func() {
			for i := range each {
				if !s.Append(call(fmt.Sprintf("%d-%d", w, i), time.Now())) {
					t.Errorf("record %d of %d was dropped", i, w)
				}
			}
		})
	}
	done := make(chan struct{})
	for range 2 {
		reads.Go(func() {
			for {
				checkOrder(t, dir, -1)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	appends.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	close(done)
	reads.Wait()
	checkOrder(t, dir, writers*each)
	wantCounters(t, s, writers*each, 0, 0)
}

// checkOrder reads all and wants the records of each writer without gap or repetition; total below 0 is any number.
func checkOrder(t *testing.T, dir string, total int) {
	t.Helper()
	next := map[int]int{}
	n := 0
	for r, err := range Read(dir, time.Time{}) {
		if errors.Is(err, ErrTorn) && total < 0 {
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		var w, i int
		if _, err := fmt.Sscanf(r.ID, "%d-%d", &w, &i); err != nil || i != next[w] {
			t.Errorf("read %q, want record %d of that writer (%v)", r.ID, next[w], err)
			return
		}
		next[w]++
		n++
	}
	if total >= 0 && n != total {
		t.Errorf("read %d records, want %d", n, total)
	}
}

func TestAppendRefusesWhatIsNoMeasurement(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	r := call("a", time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC))
	if s.Append(r) {
		t.Error("took a record that has no JSON")
	}
	wantCounters(t, s, 0, 1, 0)
}
