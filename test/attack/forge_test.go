package attack

import (
	"encoding/binary"
	"slices"

	"causeway/relay/turn"
)

// behind appends an attribute to a finished message, as anybody on the path can.
func behind(b []byte, a turn.Attr, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(slices.Clone(b), uint16(a))
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return measured(b)
}

// without takes the last attribute, which has a value of n bytes, from a message.
func without(b []byte, n int) []byte { return measured(slices.Clone(b[:len(b)-n-4])) }

// measured writes the length that a message has into its header.
func measured(b []byte) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return b
}

// claiming writes another length into the header of a message, or of ChannelData.
func claiming(b []byte, n int) []byte {
	b = slices.Clone(b)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

// last returns the end of a message.
func last(b []byte, n int) []byte { return b[len(b)-n:] }

// omit returns all attributes but one.
func omit(attrs []attr, i int) []attr { return slices.Delete(slices.Clone(attrs), i, i+1) }
