package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The records hold telephone numbers: the owner writes, a group of operators may read, nobody else.
const (
	dirMode  fs.FileMode = 0o750
	fileMode fs.FileMode = 0o640
)

const (
	filePrefix = "calls-"
	fileSuffix = ".jsonl"
)

var errTooLong = errors.New("line is too long")

// day names one file of the spool.
type day struct{ date time.Time } // midnight UTC

func today(now time.Time) day { return day{now.UTC().Truncate(24 * time.Hour)} }

func (d day) String() string { return d.date.Format(time.DateOnly) }

func (d day) path(dir string) string { return filepath.Join(dir, filePrefix+d.String()+fileSuffix) }

// listDays returns the days that have a file, oldest first. Other files of the folder are nobody's business here.
func listDays(dir string) ([]day, error) {
	entries, err := os.ReadDir(dir) // sorted by name, and so by date
	if err != nil {
		return nil, err
	}
	var days []day
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), filePrefix)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		if name, ok = strings.CutSuffix(name, fileSuffix); !ok {
			continue
		}
		if date, err := time.Parse(time.DateOnly, name); err == nil {
			days = append(days, day{date})
		}
	}
	return days, nil
}

// file is what appending needs of an *os.File; tests put a disk behind it that is full.
type file interface {
	io.ReaderAt
	io.Writer
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// openAppend opens a file to append to. Reading is needed to look at its last byte.
func openAppend(path string) (file, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, fileMode)
}

// write appends whole lines to the file, all or none as far as that is in our hands. The file is opened for every
// batch: one that an operator moves away or deletes is then made anew, and the day changes by itself.
func (s *Spool) write(path string, lines []byte) error {
	f, err := s.open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.dir, dirMode); err == nil {
			f, err = s.open(path)
		}
	}
	if err != nil {
		return err
	}
	err = appendLines(f, lines)
	return errors.Join(err, f.Close())
}

// appendLines closes a torn line and writes the new ones behind it in one call. When only a part finds room, that
// part is taken back, because the whole will be written again.
func appendLines(f file, lines []byte) error {
	size, err := closeTornLine(f)
	if err != nil {
		return err
	}
	n, err := f.Write(lines)
	if err != nil && n > 0 {
		err = errors.Join(err, f.Truncate(size))
	}
	return err
}

// closeTornLine ends the last line with a newline if it has none, and returns the file's size.
func closeTornLine(f file) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if size == 0 {
		return 0, nil
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return 0, fmt.Errorf("look at the last byte: %w", err)
	}
	if last[0] == '\n' {
		return size, nil
	}
	if _, err := f.Write([]byte{'\n'}); err != nil {
		return 0, fmt.Errorf("close a torn line: %w", err)
	}
	return size + 1, nil
}

func repair(path string) error {
	f, err := openAppend(path)
	if err != nil {
		return err
	}
	_, err = closeTornLine(f)
	return errors.Join(err, f.Close())
}

// flush brings the newest file and its name in the folder to the disk. Older ones have had a day for it.
func flush(dir string) error {
	days, err := listDays(dir)
	if err != nil || len(days) == 0 {
		return err
	}
	return errors.Join(syncPath(days[len(days)-1].path(dir)), syncPath(dir))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
