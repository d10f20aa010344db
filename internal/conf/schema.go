package conf

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// textType is how a type is read from a scalar.
type textType struct {
	parse func(text string, tag reflect.StructTag) (any, error)
	plain bool // text itself rather than something written as text
}

var textTypes = map[reflect.Type]textType{
	reflect.TypeFor[Listen]():    {parse: func(s string, tag reflect.StructTag) (any, error) { return parseListen(s, tag) }},
	reflect.TypeFor[SIPURI]():    {parse: func(s string, tag reflect.StructTag) (any, error) { return parseSIPURI(s, tag) }},
	reflect.TypeFor[PortRange](): {parse: func(s string, _ reflect.StructTag) (any, error) { return parsePortRange(s) }},
	reflect.TypeFor[netip.Prefix](): {parse: func(s string, _ reflect.StructTag) (any, error) {
		return parsePrefix(s)
	}},
	reflect.TypeFor[Peer]():           {parse: func(s string, _ reflect.StructTag) (any, error) { return parsePeer(s) }},
	reflect.TypeFor[netip.Addr]():     {parse: readAddr},
	reflect.TypeFor[netip.AddrPort](): {parse: readAddrPort},
	reflect.TypeFor[time.Duration]():  {parse: readDuration},
}

func textTypeOf(t reflect.Type) (textType, bool) {
	if tt, ok := textTypes[t]; ok {
		return tt, true
	}
	return textType{parse: readWord, plain: true}, t.Kind() == reflect.String
}

// readWord reads text, or one of the words of the field's "values" tag.
func readWord(text string, tag reflect.StructTag) (any, error) {
	values := tag.Get("values")
	if values == "" || slices.Contains(strings.Split(values, "|"), text) {
		return text, nil
	}
	list := strings.ReplaceAll(values, "|", ", ")
	if word := nearest(text, strings.Split(values, "|")); word != "" {
		return nil, fmt.Errorf("is none of %s; did you mean %s?", list, word)
	}
	return nil, fmt.Errorf("must be one of %s", list)
}

// readAddr reads an address; "" is the absence of one.
func readAddr(text string, _ reflect.StructTag) (any, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := parseAddr(text)
	if err != nil {
		return nil, errors.New("is no IP address; write one such as 192.0.2.10, without port or zone")
	}
	if addr.IsUnspecified() || addr.IsMulticast() {
		return nil, errors.New("is no address of a host; write the one that packets are to be sent to")
	}
	return addr, nil
}

// readAddrPort reads ADDRESS:PORT, where the address may stand for every one of the host. "" is the absence of one,
// where there may be none. A field with a "port" tag is the address of a server, whose port may be left out.
func readAddrPort(text string, tag reflect.StructTag) (any, error) {
	if text == "" && tag.Get("default") == "" {
		return netip.AddrPort{}, nil
	}
	if tag.Get("port") != "" {
		return readServer(text, tag)
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil || ap.Addr().Zone() != "" {
		return nil, errors.New("is no address with a port; write one such as 127.0.0.1:8480")
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// readServer reads the address of a server, with or without its port.
func readServer(text string, tag reflect.StructTag) (any, error) {
	network, _, _ := strings.Cut(tag.Get("port"), "=")
	host, port := text, 0
	if _, err := parseAddr(text); err != nil {
		if host, port, err = splitHostPort(text); err != nil {
			return nil, err
		}
	}
	addr, err := parseAddr(host)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return nil, errors.New("is no address of a server; write one such as 192.0.2.53 or 192.0.2.53:53")
	}
	return netip.AddrPortFrom(addr, uint16(cmp.Or(port, defaultPort(tag, network)))), nil
}

func readDuration(text string, tag reflect.StructTag) (any, error) {
	span, err := time.ParseDuration(text)
	if err != nil {
		return nil, errors.New("is no duration; write a number with its unit, such as 90s or 3m")
	}
	if lowest, err := time.ParseDuration(tag.Get("min")); err == nil && span < lowest {
		return nil, fmt.Errorf("is too short; the least is %s", tag.Get("min"))
	}
	if highest, err := time.ParseDuration(tag.Get("max")); err == nil && span > highest {
		return nil, fmt.Errorf("is too long; the most is %s", tag.Get("max"))
	}
	return span, nil
}

// bounds reads the tags of an integer field.
func bounds(tag reflect.StructTag) (lowest, highest int) {
	lowest, _ = strconv.Atoi(tag.Get("min"))
	highest, _ = strconv.Atoi(tag.Get("max"))
	return lowest, highest
}

// keysOf returns the fields of the section type t that are settings at a field with the tag at.
func keysOf(t reflect.Type, at reflect.StructTag) []reflect.StructField {
	without := strings.Split(at.Get("without"), ",")
	var fields []reflect.StructField
	for field := range t.Fields() {
		if !slices.Contains(without, field.Tag.Get("yaml")) {
			fields = append(fields, field)
		}
	}
	return fields
}

// setDefaults gives the fields of the section v, which stands at a field with the tag at, the values of their "default"
// tags, and those of the sections in it.
func setDefaults(v reflect.Value, at reflect.StructTag) {
	for _, field := range keysOf(v.Type(), at) {
		f, text := v.FieldByIndex(field.Index), field.Tag.Get("default")
		tt, isText := textTypeOf(f.Type())
		switch {
		case isText && text != "":
			value, err := tt.parse(text, field.Tag)
			if err != nil {
				panic(fmt.Sprintf("conf: default of %s: %v", field.Name, err)) // a wrong tag; every test would hit it
			}
			f.Set(reflect.ValueOf(value).Convert(f.Type()))
		case f.Kind() == reflect.Int:
			i, _ := strconv.Atoi(text)
			f.SetInt(int64(i))
		case f.Kind() == reflect.Bool:
			f.SetBool(text == "true")
		case f.Kind() == reflect.Struct && !isText:
			setDefaults(f, field.Tag)
		}
	}
}

func fieldByKey(fields []reflect.StructField, key string) (reflect.StructField, bool) {
	i := slices.IndexFunc(fields, func(f reflect.StructField) bool { return f.Tag.Get("yaml") == key })
	if i < 0 {
		return reflect.StructField{}, false
	}
	return fields[i], true
}

// unknownKey says that key is not known in the section with the fields at path, and what may have been meant.
func unknownKey(fields []reflect.StructField, path, key string) string {
	var keys []string
	for _, field := range fields {
		keys = append(keys, field.Tag.Get("yaml"))
	}
	text := "unknown key " + join(path, key)
	if near := nearest(key, keys); near != "" {
		return fmt.Sprintf("%s; did you mean %s?", text, join(path, near))
	}
	if homes := alike(path, sectionsWith(key)); len(homes) > 0 {
		return fmt.Sprintf("%s; it belongs in %s", text, strings.Join(homes, " or "))
	}
	return fmt.Sprintf("%s; remove it, the keys here are %s", text, strings.Join(keys, ", "))
}

// alike picks the sections that are called what the one at path is, or all when none is.
func alike(path string, sections []string) []string {
	last := func(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
	var same []string
	for _, s := range sections {
		if last(s) == last(path) {
			same = append(same, s)
		}
	}
	if len(same) == 0 {
		return sections
	}
	return same
}

// sectionsWith finds the sections in which key is known.
func sectionsWith(key string) []string {
	var homes []string
	var walk func(t reflect.Type, at reflect.StructTag, path string)
	walk = func(t reflect.Type, at reflect.StructTag, path string) {
		for _, field := range keysOf(t, at) {
			name, inner := field.Tag.Get("yaml"), field.Type
			if name == key {
				homes = append(homes, sectionName(path))
			}
			if inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if _, isText := textTypeOf(inner); inner.Kind() == reflect.Struct && !isText {
				walk(inner, field.Tag, join(path, name))
			}
		}
	}
	walk(reflect.TypeFor[Config](), "", "")
	return homes
}

func sectionName(path string) string {
	if path == "" {
		return "the top level"
	}
	return path
}

// nearest returns the word that s was probably meant to be, or "".
func nearest(s string, words []string) string {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, distance := "", 0
	for _, w := range words {
		d := editDistance(plain(s), plain(w))
		if allowed := max(1, len(w)/3); d <= allowed && (best == "" || d < distance) {
			best, distance = w, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that make b out of a.
func editDistance(a, b string) int {
	if len(a) > 64 { // no key is near that long
		return len(a)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
