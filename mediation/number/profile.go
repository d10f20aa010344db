package number

import (
	"errors"
	"fmt"
	"time"

	"github.com/dlclark/regexp2"
)

// MatchLimit bounds the time one rule may search one number. Rules are written with a backtracking engine in mind,
// and the number comes from outside: without a limit, a pattern such as ^(\d+)+$ lets one caller hold a core. A limit
// of 50 ms is a thousand times what a sane rule needs and still short beside the round trip of a call set-up.
const MatchLimit = 50 * time.Millisecond

// maxLength is the longest number, in bytes, that rules are applied to; a longer one is returned as it came. The
// longest international number has 15 digits, and dial strings with service codes stay well under this.
const maxLength = 128

// matchClock is how often the engine looks at the clock during a match. Its default of 100 ms would let a match run
// three times as long as MatchLimit. The engine's clock goroutine ends about a second after the last match.
const matchClock = 10 * time.Millisecond

// The setting is one for the whole process and must be made before the first match; this is the only package that
// may import the engine.
func init() { regexp2.SetTimeoutCheckPeriod(matchClock) }

// Rule translates the numbers that Pattern matches. Pattern and Translation have the syntax of .NET regular
// expressions: look-ahead is allowed, \d matches the digits of every script, $1 or ${1} in Translation stands for the
// first group, and $10 stands for the tenth group or, without one, for itself.
type Rule struct {
	Name        string // for logs and reports; may contain spaces
	Pattern     string // matches anywhere in the number unless anchored with ^ and $
	Translation string // replaces every match; what the pattern does not match stays
}

// RuleError is a rule that cannot be compiled.
type RuleError struct {
	Index int    // position in the list given to Compile, from 0
	Name  string // Rule.Name
	Err   error
}

// Error implements error.
func (e *RuleError) Error() string { return fmt.Sprintf("rule %d %q: %v", e.Index+1, e.Name, e.Err) }

// Unwrap returns the reason.
func (e *RuleError) Unwrap() error { return e.Err }

// Profile is a location profile: rules in the order in which they are tried. It is immutable and safe for concurrent
// use. The zero Profile and a nil one have no rules.
type Profile struct {
	rules []compiled
}

type compiled struct {
	name        string
	pattern     *regexp2.Regexp
	translation translation
}

// Compile prepares rules in their order. When rules are wrong it returns no profile and an error that joins one
// *RuleError for each of them.
func Compile(rules []Rule) (*Profile, error) {
	p := &Profile{rules: make([]compiled, 0, len(rules))}
	var errs []error
	for i, r := range rules {
		c, err := compileRule(r)
		if err != nil {
			errs = append(errs, &RuleError{Index: i, Name: r.Name, Err: err})
			continue
		}
		p.rules = append(p.rules, c)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

func compileRule(r Rule) (compiled, error) {
	if r.Pattern == "" {
		return compiled{}, errors.New("the pattern is empty and would match every number")
	}
	pattern, err := regexp2.Compile(r.Pattern, regexp2.None)
	if err != nil {
		return compiled{}, fmt.Errorf("pattern: %w", err)
	}
	pattern.MatchTimeout = MatchLimit
	t, err := compileTranslation(r.Pattern, r.Translation)
	if err != nil {
		return compiled{}, fmt.Errorf("translation: %w", err)
	}
	return compiled{name: r.Name, pattern: pattern, translation: t}, nil
}

// Result is a number after normalization.
type Result struct {
	Number   string // the number to use; the one that came in when no rule fired
	Rule     string // name of the rule that fired, empty when none did
	E164     bool   // Number is E.164 (IsE164)
	TimedOut bool   // a rule ran into MatchLimit: later rules were not tried and Number is what came in
}

// Normalize applies the first rule that matches number. A number that is E.164 already is left alone, so normalizing
// twice gives what normalizing once gave whenever the first result was E.164. number is without the parameters of a
// user part (SplitUser).
//
// A rule that runs out of time ends the search: going on would give the number to a rule that was meant for others.
func (p *Profile) Normalize(number string) Result {
	if IsE164(number) {
		return Result{Number: number, E164: true}
	}
	if p == nil || len(number) > maxLength {
		return Result{Number: number}
	}
	for i := range p.rules {
		translated, matched, err := p.rules[i].apply(number)
		switch {
		case err != nil:
			return Result{Number: number, TimedOut: true}
		case matched:
			return Result{Number: translated, Rule: p.rules[i].name, E164: IsE164(translated)}
		}
	}
	return Result{Number: number}
}
