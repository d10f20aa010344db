package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"causeway/qos/qoe"
)

var (
	// ErrTorn is the error of a last line without a newline: its writer died, or is still at it.
	ErrTorn = errors.New("the last line is not complete")

	errNoRecord = errors.New("not a call record")
)

// LineError says which line of the spool could not be read. Reading goes on behind it.
type LineError struct {
	File string
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Read yields the calls of a spool that ended at or after since, in the order in which they were written; the zero
// time yields all. Calls whose end is unknown are never left out. It may run while a Spool writes, and then sees what
// was written before it came to the end of the newest file.
//
// What cannot be read is yielded as an error in its place, with a nil record: a *LineError for a line that is no
// record, torn, or longer than 1 MiB; otherwise the error of the file or folder. Records are the caller's to keep.
func Read(dir string, since time.Time) iter.Seq2[*qoe.Record, error] {
	return func(yield func(*qoe.Record, error) bool) {
		days, err := listDays(dir)
		if err != nil {
			yield(nil, fmt.Errorf("read the spool: %w", err))
			return
		}
		first := today(since)
		for _, d := range days {
			// A call is written after it ended, so no earlier file can hold it.
			if d.date.Before(first.date) {
				continue
			}
			if !readFile(d.path(dir), since, yield) {
				return
			}
		}
	}
}

// readFile yields the records of one file and reports whether more are wanted.
func readFile(path string, since time.Time, yield func(*qoe.Record, error) bool) bool {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true // removed by the retention since it was listed
	}
	if err != nil {
		return yield(nil, fmt.Errorf("read the spool: %w", err))
	}
	defer func() { _ = f.Close() }() // nothing was written
	return readLines(f, path, since, yield)
}

func readLines(r io.Reader, name string, since time.Time, yield func(*qoe.Record, error) bool) bool {
	lines := bufio.NewReaderSize(r, 64<<10)
	var buf []byte
	for n := 1; ; n++ {
		var err error
		buf, err = readLine(lines, buf[:0])
		if errors.Is(err, io.EOF) && len(buf) == 0 {
			return true
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errTooLong) {
			return yield(nil, fmt.Errorf("read the spool: %w", err))
		}
		record, perr := parseLine(buf, err)
		switch {
		case perr != nil:
			if !yield(nil, &LineError{File: name, Line: n, Err: perr}) {
				return false
			}
		case record != nil && (record.End.IsZero() || !record.End.Before(since)):
			if !yield(record, nil) {
				return false
			}
		}
		if errors.Is(err, io.EOF) {
			return true
		}
	}
}

// parseLine makes a record of what readLine returned. An empty line is neither a record nor an error: it says nothing.
func parseLine(line []byte, readErr error) (*qoe.Record, error) {
	if errors.Is(readErr, errTooLong) {
		return nil, errTooLong
	}
	if len(line) == 0 {
		return nil, nil
	}
	var r qoe.Record
	err := json.Unmarshal(line, &r)
	switch {
	case err != nil && errors.Is(readErr, io.EOF):
		return nil, ErrTorn
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNoRecord, err)
	case r.Version < 1:
		return nil, errNoRecord
	}
	return &r, nil
}

// readLine appends the next line without its newline to buf. io.EOF comes with the rest behind the last newline;
// errTooLong with a line of which only the newline was found again.
func readLine(r *bufio.Reader, buf []byte) ([]byte, error) {
	tooLong := false
	for {
		part, err := r.ReadSlice('\n')
		if len(buf)+len(part) > maxLine {
			tooLong = true
		}
		if !tooLong {
			buf = append(buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return buf[:0], errTooLong
		case err != nil:
			return buf, err
		}
		return buf[:len(buf)-1], nil
	}
}
