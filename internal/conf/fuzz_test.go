package conf

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse looks for input that the parser does not survive, and for errors that point outside the file. The seeds
// stand in testdata/fuzz.
func FuzzParse(f *testing.F) {
	h := testHost()
	h.readFile = func(name string) ([]byte, error) { return nil, os.ErrNotExist } // names come from the input
	h.mode = func(string) (os.FileMode, error) { return 0, os.ErrNotExist }
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, warnings, err := parse("c.yaml", data, h, nil)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("configuration %v and error %v", cfg, err)
		}
		lines := strings.Split(string(normalizeText(data)), "\n")
		inside := func(p Position) {
			if p.File != "c.yaml" || p.Line < 1 || p.Line > len(lines)+1 || p.Column < 1 {
				t.Errorf("%v is not in the file of %d lines", p, len(lines))
			}
		}
		for _, w := range warnings {
			inside(w.Position)
		}
		if err == nil {
			if again := cfg.String(); !utf8.ValidString(again) && utf8.Valid(data) {
				t.Errorf("invalid text from valid: %q", again)
			}
			return
		}
		all, ok := errors.AsType[Errors](err)
		if !ok || len(all) == 0 {
			t.Fatalf("error of type %T", err)
		}
		for i, e := range all {
			inside(e.Position)
			if i > 0 && e.compare(all[i-1].Position) < 0 {
				t.Errorf("%v comes after %v", all[i-1], e)
			}
		}
	})
}
