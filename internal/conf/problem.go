package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a configuration file. Line and Column count from 1; columns count characters.
type Position struct {
	File   string
	Line   int
	Column int
}

// String returns FILE:LINE:COLUMN.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Error is one fault in a configuration.
type Error struct {
	Position
	Text string // what is wrong, and the fix
}

// Error implements error: FILE:LINE:COL: what is wrong, and the fix.
func (e Error) Error() string { return fmt.Sprintf("%v: %s", e.Position, e.Text) }

// Errors is every fault that was found, in the order of the file. It is never empty.
type Errors []Error

// Error implements error: one fault a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As each fault.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}

// Warning is something that works but is likely to be regretted.
type Warning struct {
	Position
	Text string // what may go wrong, and the remedy
}

// String returns FILE:LINE:COL: what may go wrong, and the remedy.
func (w Warning) String() string { return fmt.Sprintf("%v: %s", w.Position, w.Text) }

func (p Position) compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// report collects what the decoder and the checks find.
type report struct {
	file     string
	errors   Errors
	warnings []Warning

	// places holds where each value stands, by path ("mediation.pool.listen[0]"); keys holds where its key stands.
	places map[string]Position
	keys   map[string]Position
	broken map[string]bool // paths whose value could not be read; what depends on them is not judged
}

func newReport(file string) *report {
	return &report{file: file, places: map[string]Position{}, keys: map[string]Position{}, broken: map[string]bool{}}
}

func (r *report) errorAt(p Position, format string, args ...any) {
	r.errors = append(r.errors, Error{Position: p, Text: fmt.Sprintf(format, args...)})
}

// errorf reports a fault of the value at path.
func (r *report) errorf(path, format string, args ...any) {
	r.broken[path] = true
	r.errorAt(r.place(path), "%s", path+" "+fmt.Sprintf(format, args...))
}

// warnf reports something doubtful about the value at path.
func (r *report) warnf(path, format string, args ...any) {
	r.warnings = append(r.warnings, Warning{Position: r.place(path), Text: path + " " + fmt.Sprintf(format, args...)})
}

// place finds where the value at path stands, or the nearest section around it that stands in the file.
func (r *report) place(path string) Position {
	for {
		if p, ok := r.places[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return Position{File: r.file, Line: 1, Column: 1}
		}
		path = path[:i]
	}
}

// given reports whether path stands in the file.
func (r *report) given(path string) bool {
	_, ok := r.places[path]
	return ok
}

// sound reports whether the values at all the paths can be relied on: nothing in them and nothing around them was
// found at fault.
func (r *report) sound(paths ...string) bool {
	for _, path := range paths {
		for p := range r.broken {
			if within(p, path) || within(path, p) {
				return false
			}
		}
	}
	return true
}

// within reports whether path is outer or stands in it.
func within(path, outer string) bool {
	rest, found := strings.CutPrefix(path, outer)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// result returns the findings in the order of the file; err is nil when there is no fault.
func (r *report) result() (warnings []Warning, err error) {
	slices.SortStableFunc(r.errors, func(a, b Error) int { return a.compare(b.Position) })
	slices.SortStableFunc(r.warnings, func(a, b Warning) int { return a.compare(b.Position) })
	if len(r.errors) > 0 {
		return r.warnings, r.errors
	}
	return r.warnings, nil
}
