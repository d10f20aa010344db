package number

import (
	"strings"

	"github.com/dlclark/regexp2"
	"github.com/dlclark/regexp2/syntax"
)

// translation is a .NET replacement pattern, parsed once: literal text and references in their order.
//
// The engine's own Replace parses the replacement at every call and, when the time limit strikes after the first
// match, returns an empty string without an error. Neither will do here, so apply puts the pieces together itself.
type translation []piece

type piece struct {
	kind pieceKind
	text string // of a literal
	slot int    // of a group: its place in Match.Groups
}

type pieceKind uint8

const (
	literal    pieceKind = iota
	group                // $1, ${1}, ${name}, $& (which is group 0)
	leftOf               // $`: what stands before the match
	rightOf              // $': what stands behind the match
	lastGroup            // $+: the group with the highest number
	wholeInput           // $_
)

// replacerSpecials is the offset in the engine's encoding of a replacement: rules from 0 up are literals by index,
// rules below -replacerSpecials are groups, and those between are the kinds in replacerKinds.
const replacerSpecials = 4

var replacerKinds = [replacerSpecials]pieceKind{wholeInput, lastGroup, rightOf, leftOf} // rules -1, -2, -3, -4

func compileTranslation(pattern, replacement string) (translation, error) {
	tree, err := syntax.Parse(pattern, 0)
	if err != nil {
		return nil, err
	}
	code, err := syntax.Write(tree)
	if err != nil {
		return nil, err
	}
	data, err := syntax.NewReplacerData(replacement, code.Caps, code.Capsize, tree.Capnames, 0)
	if err != nil {
		return nil, err
	}
	t := make(translation, 0, len(data.Rules))
	for _, rule := range data.Rules {
		switch {
		case rule >= 0:
			t = append(t, piece{kind: literal, text: data.Strings[rule]})
		case rule < -replacerSpecials:
			t = append(t, piece{kind: group, slot: -replacerSpecials - 1 - rule})
		default:
			t = append(t, piece{kind: replacerKinds[-1-rule]})
		}
	}
	return t, nil
}

// apply replaces every match in number, as Regex.Replace of .NET does. The error is a match that ran out of time.
func (c *compiled) apply(number string) (translated string, matched bool, err error) {
	m, err := c.pattern.FindStringMatch(number)
	if err != nil || m == nil {
		return "", false, err
	}
	input := []rune(number)
	var out strings.Builder
	rest := 0 // index of the first rune that is neither copied nor replaced
	for m != nil && m.Index >= rest {
		out.WriteString(string(input[rest:m.Index]))
		c.translation.expand(&out, m, input)
		rest = m.Index + m.Length
		if m, err = c.pattern.FindNextMatch(m); err != nil {
			return "", false, err
		}
	}
	out.WriteString(string(input[rest:]))
	return out.String(), true, nil
}

func (t translation) expand(out *strings.Builder, m *regexp2.Match, input []rune) {
	groups := m.Groups()
	for _, p := range t {
		switch p.kind {
		case literal:
			out.WriteString(p.text)
		case group:
			out.WriteString(groups[p.slot].String())
		case leftOf:
			out.WriteString(string(input[:m.Index]))
		case rightOf:
			out.WriteString(string(input[m.Index+m.Length:]))
		case lastGroup:
			out.WriteString(groups[len(groups)-1].String())
		case wholeInput:
			out.WriteString(string(input))
		}
	}
}
