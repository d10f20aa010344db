package conf

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
)

// LogValue implements slog.LogValuer: the whole configuration by its keys, with secrets and user names redacted.
func (c *Config) LogValue() slog.Value {
	return slog.GroupValue(attributes(reflect.ValueOf(c).Elem(), "")...)
}

// String implements fmt.Stringer: one "key = value" a line, with secrets and user names redacted.
func (c *Config) String() string {
	var out strings.Builder
	writeLines(&out, "", attributes(reflect.ValueOf(c).Elem(), ""))
	return out.String()
}

func writeLines(out *strings.Builder, path string, attrs []slog.Attr) {
	for _, a := range attrs {
		if a.Value.Kind() == slog.KindGroup {
			writeLines(out, join(path, a.Key), a.Value.Group())
			continue
		}
		fmt.Fprintf(out, "%s = %s\n", join(path, a.Key), a.Value)
	}
}

// attributes renders a section, of a field with the tag at. Roles that do not run are left out.
func attributes(section reflect.Value, at reflect.StructTag) []slog.Attr {
	var attrs []slog.Attr
	for _, field := range keysOf(section.Type(), at) {
		key, v := field.Tag.Get("yaml"), section.FieldByIndex(field.Index)
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				continue
			}
			v = v.Elem()
		}
		if _, isText := textTypeOf(v.Type()); v.Kind() == reflect.Struct && !isText {
			attrs = append(attrs, slog.Attr{Key: key, Value: slog.GroupValue(attributes(v, field.Tag)...)})
			continue
		}
		attrs = append(attrs, slog.String(key, render(v)))
	}
	return attrs
}

// render writes a value as it would stand in the file. Types of secrets render themselves.
func render(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		items := make([]string, v.Len())
		for i := range items {
			items[i] = render(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if v.Type() == reflect.TypeFor[Rule]() {
		r := v.Interface().(Rule)
		return fmt.Sprintf("{name: %s, pattern: %s, translation: %s}", r.Name, r.Pattern, r.Translation)
	}
	if v.IsZero() && v.Kind() == reflect.Struct {
		return "" // an address that is not set
	}
	return fmt.Sprint(v.Interface())
}
