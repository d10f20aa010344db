package conf

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFileSize bounds what is parsed, in bytes. A configuration is a few KiB; a file of another kind given by mistake
// should not be read to its end.
const maxFileSize = 1 << 20

// decoder walks the syntax tree along the types of Config. It does not stop at a fault: the value keeps its default
// and its path is marked as broken.
type decoder struct{ *report }

// decode reads data into cfg, whose fields must be zero, and sets the defaults.
func (d decoder) decode(data []byte, cfg *Config) {
	setDefaults(reflect.ValueOf(cfg).Elem(), "")
	body := d.syntax(data)
	if body != nil {
		d.section(body, reflect.ValueOf(cfg).Elem(), "", "")
	}
}

// syntax parses data and returns the body of its only document, or nil after a report.
func (d decoder) syntax(data []byte) ast.Node {
	start := Position{File: d.file, Line: 1, Column: 1}
	if len(data) > maxFileSize {
		d.errorAt(start, "the file has %d bytes, more than %d; give the configuration file", len(data), maxFileSize)
		return nil
	}
	file, err := parseYAML(normalizeText(data))
	if err != nil {
		at, reason := start, err.Error()
		if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
			reason = syntax.Message
			if tk := syntax.Token; tk != nil && tk.Position != nil {
				at.Line, at.Column = max(1, tk.Position.Line), max(1, tk.Position.Column)
			}
		}
		d.errorAt(at, "is not valid YAML: %s; look at the indentation, quotes and brackets here", reason)
		return nil
	}
	if len(file.Docs) > 1 {
		at := start
		if tk := file.Docs[1].Start; tk != nil {
			at.Line, at.Column = tk.Position.Line, tk.Position.Column
		}
		d.errorAt(at, "a second document starts here; a configuration is one document, so remove the line ---")
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		d.errorAt(start, "the configuration is empty; give it a relay or a mediation section")
		return nil
	}
	return file.Docs[0].Body
}

// parseYAML turns a panic of the parser into an error: a file that confuses it is at fault in some way, and the caller
// is told where it is rather than given a stack.
func parseYAML(text []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	return parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey()) // duplicates are reported here, all of them
}

// normalizeText takes away what upsets the parser's count of lines and columns: a byte order mark, and line breaks
// other than LF (YAML 1.2 section 5.4 makes them all the same).
func normalizeText(data []byte) []byte {
	text := strings.TrimPrefix(string(data), "\ufeff")
	return []byte(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text))
}

// section decodes a mapping into the struct v, of a field with tag.
func (d decoder) section(n ast.Node, v reflect.Value, path string, tag reflect.StructTag) {
	seen, fields := map[string]bool{}, keysOf(v.Type(), tag)
	d.eachKey(n, path, "a section with keys", func(key string, keyNode, value ast.Node) {
		field, ok := fieldByKey(fields, key)
		if !ok {
			d.errorAt(d.at(keyNode), "%s", unknownKey(fields, path, key))
			return
		}
		seen[key] = true
		d.value(value, v.FieldByIndex(field.Index), join(path, key), field.Tag)
	})
	for _, field := range fields {
		if key := field.Tag.Get("yaml"); field.Tag.Get("need") == "required" && !seen[key] && !d.broken[path] {
			d.missing(path, key)
		}
	}
}

// missing reports a required key at the key of its section, or at the list item that lacks it.
func (d decoder) missing(path, key string) {
	at, ok := d.keys[path]
	if !ok {
		at = d.place(path)
	}
	d.broken[join(path, key)] = true
	d.errorAt(at, "%s is missing; add the key %s", join(path, key), key)
}

// eachKey calls f for each key of the mapping n, after reporting duplicate keys and keys that are no text.
func (d decoder) eachKey(n ast.Node, path, want string, f func(key string, keyNode, value ast.Node)) {
	mapping, ok := n.(*ast.MappingNode)
	if !ok {
		d.wrongType(n, path, want)
		return
	}
	first := map[string]Position{}
	for _, kv := range mapping.Values {
		keyNode, isText := kv.Key.(*ast.StringNode)
		if !isText {
			d.errorAt(d.at(kv.Key), "%s is no key that belongs here; write a plain name, in quotes when it looks like a number", kv.Key.GetToken().Value)
			continue
		}
		key, at := keyNode.Value, d.at(kv.Key)
		if before, twice := first[key]; twice {
			d.errorAt(at, "%s stands twice, first on line %d; remove one of them", join(path, key), before.Line)
			continue
		}
		first[key] = at
		d.keys[join(path, key)] = at
		d.places[join(path, key)] = at
		if kv.Value != nil && kv.Value.Type() != ast.NullType {
			d.places[join(path, key)] = d.at(kv.Value)
		}
		f(key, kv.Key, kv.Value)
	}
}

// value decodes n into v, which may be of any type that Config contains.
func (d decoder) value(n ast.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n == nil || n.Type() == ast.NullType {
		d.errorf(path, "has no value; give one or remove the key")
		return
	}
	if _, isList := n.(*ast.SequenceNode); isList && tag.Get("single") != "" {
		d.errorf(path, "is a list; one Mediation Server has exactly one gateway peer, so write that one and give every further gateway a causeway of its own")
		return
	}
	if tt, ok := textTypeOf(v.Type()); ok {
		d.text(n, v, path, tag, tt)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem(), tag)
		d.section(n, v.Elem(), path, tag)
	case reflect.Struct:
		d.section(n, v, path, tag)
	case reflect.Slice:
		d.list(n, v, path, tag)
	case reflect.Map:
		d.users(n, v, path)
	case reflect.Bool:
		d.boolean(n, v, path)
	case reflect.Int:
		d.integer(n, v, path, tag)
	default:
		panic("conf: no decoder for " + v.Type().String()) // a field of Config without one; every test would hit it
	}
}

func (d decoder) list(n ast.Node, v reflect.Value, path string, tag reflect.StructTag) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrongType(n, path, "a list, in brackets or with dashes")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values))
	for i, item := range sequence.Values {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		if _, isText := textTypeOf(v.Type().Elem()); isText {
			item = rejoined(item)
		} else {
			setDefaults(list.Index(i), "")
		}
		if item != nil {
			d.places[itemPath] = d.at(item)
		}
		d.value(item, list.Index(i), itemPath, tag)
	}
	v.Set(list)
}

// rejoined undoes a mistake of the YAML library, which takes the item a:1 of a list in braces, as in {x: [a:1]}, for a
// mapping. YAML 1.2 section 7.3.3 has it as one scalar, because no space stands behind the colon.
func rejoined(item ast.Node) ast.Node {
	mapping, ok := item.(*ast.MappingNode)
	if !ok || mapping.IsFlowStyle || len(mapping.Values) != 1 {
		return item
	}
	kv := mapping.Values[0]
	key, isText := kv.Key.(*ast.StringNode)
	scalar, isScalar := kv.Value.(ast.ScalarNode)
	if !isText || !isScalar {
		return item
	}
	first, last := key.GetToken(), scalar.GetToken()
	if first.Type != token.StringType || last.Prev == nil || last.Prev.Prev != first || last.Position.Offset != last.Prev.Position.Offset+1 {
		return item // quoted, or with a space
	}
	text := first.Value + ":" + last.Value
	return ast.String(token.New(text, text, first.Position))
}

// users decodes a mapping of names to secrets.
func (d decoder) users(n ast.Node, v reflect.Value, path string) {
	users := Users{}
	d.eachKey(n, path, "names with passwords", func(key string, _, value ast.Node) {
		var secret Secret
		d.value(value, reflect.ValueOf(&secret).Elem(), join(path, key), "")
		users[key] = secret
	})
	v.Set(reflect.ValueOf(users))
}

func (d decoder) boolean(n ast.Node, v reflect.Value, path string) {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		d.wrongType(n, path, "true or false")
		return
	}
	v.SetBool(b.Value)
}

func (d decoder) integer(n ast.Node, v reflect.Value, path string, tag reflect.StructTag) {
	lowest, highest := bounds(tag)
	want := fmt.Sprintf("a whole number from %d to %d", lowest, highest)
	if _, ok := n.(*ast.IntegerNode); !ok {
		d.wrongType(n, path, want)
		return
	}
	text := n.GetToken().Value
	i, err := strconv.Atoi(text)
	if err != nil || text != strconv.Itoa(i) || i < lowest || i > highest {
		d.errorf(path, "is %s; it must be %s, in decimal", text, want)
		return
	}
	v.SetInt(int64(i))
}

// text decodes a scalar of a type in textTypes.
//
// Where the type is plain text, numbers and the like are refused rather than guessed at: 0100 would come out as 64 and
// +14255550100 without its plus. The other types read what was written and give their own reasons.
func (d decoder) text(n ast.Node, v reflect.Value, path string, tag reflect.StructTag, tt textType) {
	var text string
	switch node := n.(type) {
	case *ast.StringNode:
		text = node.Value
	case *ast.LiteralNode:
		text = node.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		text = n.GetToken().Value
		if tt.plain && tag.Get("values") == "" {
			d.errorf(path, "is %s to YAML and not text; put it in quotes", yamlName(n))
			return
		}
	default:
		d.wrongType(n, path, "text")
		return
	}
	parsed, err := tt.parse(text, tag)
	if err != nil {
		d.errorf(path, "%q %v", text, err)
		return
	}
	v.Set(reflect.ValueOf(parsed).Convert(v.Type()))
}

func (d decoder) wrongType(n ast.Node, path, want string) {
	what := path
	if what == "" {
		what = "the configuration"
	}
	d.broken[path] = true
	d.errorAt(d.at(n), "%s is %s; it must be %s", what, yamlName(n), want)
}

// at returns where a node starts in the file.
func (d decoder) at(n ast.Node) Position {
	tk := n.GetToken()
	if mapping, ok := n.(*ast.MappingNode); ok && !mapping.IsFlowStyle && len(mapping.Values) > 0 {
		tk = mapping.Values[0].Key.GetToken() // the token of a mapping without braces is its first colon
	}
	if tk == nil || tk.Position == nil {
		return Position{File: d.file, Line: 1, Column: 1}
	}
	return Position{File: d.file, Line: max(1, tk.Position.Line), Column: max(1, tk.Position.Column)}
}

func yamlName(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a section"
	case ast.SequenceType:
		return "a list"
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return "a number"
	case ast.BoolType:
		return "true or false"
	case ast.NullType:
		return "empty"
	case ast.StringType, ast.LiteralType:
		return "text"
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType:
		return "an anchor or a reference, which are not supported here"
	case ast.TagType:
		return "a tag, which is not supported here"
	}
	return "of an unknown kind"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
