package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnwritableFolder puts a file where the folder was: nothing is lost while the queue has room, and the folder is
// made anew once it can be.
func TestUnwritableFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "spool")
		s := open(t, dir, Options{})
		if err := errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		stop := run(s)
		s.Append(call("a", time.Now()))
		synctest.Wait()
		wantCounters(t, s, 0, 0, 1)
		s.Append(call("b", time.Now())) // does not bring the next attempt nearer
		synctest.Wait()
		wantCounters(t, s, 0, 0, 1)
		time.Sleep(retryFirst)
		synctest.Wait()
		wantCounters(t, s, 0, 0, 2)
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * retryFirst)
		synctest.Wait()
		wantCounters(t, s, 2, 0, 2)
		wantCalls(t, dir, time.Time{}, "a", "b")
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestUnwritableAtTheEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, Options{})
	if err := errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s.Append(call("a", time.Now()))
	s.Append(call("b", time.Now()))
	if err := run(s)(); err == nil || !strings.Contains(err.Error(), "2 records are lost") {
		t.Errorf("error %v, want one that counts the lost records", err)
	}
	if _, dropped, _ := s.Counters(); dropped != 2 {
		t.Errorf("dropped %d, want 2", dropped)
	}
	if _, err := OpenSpool(dir, Options{}); err == nil {
		t.Error("a spool opened on a file")
	}
}

// fullDisk lets through as many bytes as room says and then is full, as the kernel is: with a short write.
type fullDisk struct {
	file
	room *atomic.Int64
}

var errFull = errors.New("no space left on device")

func (d fullDisk) Write(p []byte) (int, error) {
	room := d.room.Load()
	if int64(len(p)) <= room {
		d.room.Add(-int64(len(p)))
		return d.file.Write(p)
	}
	d.room.Store(0)
	n, err := d.file.Write(p[:room])
	return n, errors.Join(errFull, err)
}

func (d fullDisk) Truncate(size int64) error {
	info, err := d.Stat()
	if err != nil {
		return err
	}
	d.room.Add(info.Size() - size)
	return d.file.Truncate(size)
}

// TestFullDisk leaves room for every possible part of two records: whatever fits, each record is read exactly once
// in the end and the reader meets no torn line at any time.
func TestFullDisk(t *testing.T) {
	length := len(lineOf(t, call("a", time.Now())))
	for _, room := range []int{0, 1, length / 2, length - 1, length, length + 1, 2*length - 1} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir, Options{})
				var left atomic.Int64
				left.Store(int64(room))
				s.open = func(path string) (file, error) {
					f, err := openAppend(path)
					return fullDisk{f, &left}, err
				}
				s.Append(call("a", time.Now()))
				s.Append(call("b", time.Now()))
				stop := run(s)
				synctest.Wait()
				wantCounters(t, s, 0, 0, 1)
				wantCalls(t, dir, time.Time{})
				left.Add(1 << 20)
				time.Sleep(retryFirst)
				synctest.Wait()
				wantCounters(t, s, 2, 0, 1)
				wantCalls(t, dir, time.Time{}, "a", "b")
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
