package conf

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a password or a shared key. Every way of printing it gives the same placeholder; Reveal gives the value.
type Secret string

// Reveal returns the value. Whoever asks keeps it out of logs and reports.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Users holds long-term credentials: name to password. Printing it gives only how many there are, since a name is
// half a credential.
type Users map[string]Secret

// String implements fmt.Stringer.
func (u Users) String() string { return fmt.Sprintf("[%d redacted]", len(u)) }

// GoString implements fmt.GoStringer.
func (u Users) GoString() string { return u.String() }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (u Users) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue implements slog.LogValuer.
func (u Users) LogValue() slog.Value { return slog.StringValue(u.String()) }
