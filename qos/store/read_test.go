package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/qos/qoe"
)

func TestReadLines(t *testing.T) {
	good := `{"version":1,"id":"good"}`
	tests := []struct {
		name, in string
		want     string // ids, and errors as "!line"
	}{
		{"empty", "", ""},
		{"only newlines", "\n\n\n", ""},
		{"one", good + "\n", "good"},
		{"no newline but whole", good, "good"},
		{"torn", good + "\n" + good[:10], "good !2"},
		{"torn and repaired", good[:10] + "\n" + good + "\n", "!1 good"},
		{"zeros of a lost page", good + "\n" + strings.Repeat("\x00", 4096) + "\n" + good + "\n", "good !2 good"},
		{"json but no record", "null\n[]\n\"x\"\n7\n{}\n" + good + "\n", "!1 !2 !3 !4 !5 good"},
		{"wrong type", `{"version":1,"id":7}` + "\n" + good + "\n", "!1 good"},
		{"keys of a later version", `{"version":9,"id":"later","mos":{"x":[1]}}` + "\n", "later"},
		{"too long", `{"id":"` + strings.Repeat("x", maxLine) + `"}` + "\n" + good + "\n", "!1 good"},
		{"too long and torn", good + "\n" + strings.Repeat("x", maxLine+1), "good !2"},
		{"longest", `{"version":1,"id":"ok"` + strings.Repeat(" ", maxLine-24) + "}\n" + good + "\n", "ok good"},
		{"carriage returns", good + "\r\n" + good + "\r\n", "good good"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			readLines(strings.NewReader(tt.in), "f", time.Time{}, func(r *qoe.Record, err error) bool {
				var line *LineError
				switch {
				case errors.As(err, &line):
					got = append(got, "!"+string(rune('0'+line.Line)))
				case err != nil:
					t.Error(err)
				default:
					got = append(got, r.ID)
				}
				return true
			})
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("read %q, want %q", s, tt.want)
			}
		})
	}
}

func TestReadStopsWhenAsked(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "a", "b", "c")
	n := 0
	for range Read(dir, time.Time{}) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("yielded %d times after a break, want 1", n)
	}
}

func TestReadSince(t *testing.T) {
	dir := t.TempDir()
	end := time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	var lines []byte
	for _, r := range []*qoe.Record{call("early", end.Add(-1)), call("at", end), {ID: "unknown"}} {
		lines = append(lines, lineOf(t, r)...)
	}
	for _, name := range []string{"calls-2026-05-05.jsonl", "calls-2026-05-06.jsonl", "calls-2026-05-07.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, name), lines, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantCalls(t, dir, end, "at", "unknown", "at", "unknown")
	wantCalls(t, dir, end.In(time.FixedZone("", 14*3600)), "at", "unknown", "at", "unknown")
	wantCalls(t, dir, end.Add(1), "unknown", "unknown")
}

func TestReadMissingFolder(t *testing.T) {
	ids, errs := load(filepath.Join(t.TempDir(), "none"), time.Time{})
	if len(ids) != 0 || len(errs) != 1 || !errors.Is(errs[0], fs.ErrNotExist) {
		t.Errorf("read %v, %v; want one error that the folder does not exist", ids, errs)
	}
}

// FuzzRead feeds the reader any file: it names each line at most once and in order, never yields a record beside an
// error, and what it takes for a record can be written again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"a","end":"2026-05-06T12:00:00.000000000Z","legs":[{"side":"pool","receive":{"lost":-1}}]}` + "\n"))
	f.Add([]byte("{\"version\":1}\n\x00\x00\n{\"version\":1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		last, records := 0, 0
		readLines(bytes.NewReader(in), "f", time.Time{}, func(r *qoe.Record, err error) bool {
			if (r == nil) == (err == nil) {
				t.Fatalf("record %v with error %v", r, err)
			}
			if r != nil {
				records++
				// A time zone can carry a year that is readable out of what UTC can write.
				if _, err := r.AppendJSON(nil); err != nil && !strings.Contains(err.Error(), "year is outside") {
					t.Fatalf("read what cannot be written: %v", err)
				}
				return true
			}
			var line *LineError
			if !errors.As(err, &line) || line.Line <= last {
				t.Fatalf("error %v after line %d", err, last)
			}
			last = line.Line
			return true
		})
		if lines := bytes.Count(in, []byte("\n")) + 1; records > lines || last > lines {
			t.Fatalf("%d records and line %d of %d lines", records, last, lines)
		}
	})
}
