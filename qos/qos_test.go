package qos_test

import (
	"slices"
	"testing"

	"causeway/qos"
)

func TestMarksOfCalls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		enabled bool
		class   qos.Class
		dscp    uint8
		tos     uint8
	}{
		{"audio is expedited", true, qos.Audio, 46, 0xb8},
		{"video is assured", true, qos.Video, 34, 0x88},
		{"the rest stays unmarked", true, qos.Unclassified, 0, 0},
		{"off: audio unmarked", false, qos.Audio, 0, 0},
		{"off: video unmarked", false, qos.Video, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := qos.ForCalls(tt.enabled).DSCP(tt.class)
			if got != tt.dscp {
				t.Errorf("DSCP = %d, want %d", got, tt.dscp)
			}
			if tos := qos.TOS(got); tos != tt.tos {
				t.Errorf("TOS = %#x, want %#x", tos, tt.tos)
			}
		})
	}
}

// The two lists are those of the original product's documentation; every other
// number of the seven-bit field must stay out of both.
func TestClassOfPayloadType(t *testing.T) {
	audio := []uint8{0, 3, 4, 8, 13, 97, 101, 111, 112, 114, 115, 116, 118}
	video := []uint8{34, 121}
	for pt := range uint8(128) {
		want := qos.Unclassified
		if slices.Contains(audio, pt) {
			want = qos.Audio
		} else if slices.Contains(video, pt) {
			want = qos.Video
		}
		if got := qos.ClassOf(pt); got != want {
			t.Errorf("ClassOf(%d) = %v, want %v", pt, got, want)
		}
	}
}

func TestClassNames(t *testing.T) {
	for class, want := range map[qos.Class]string{
		qos.Unclassified: "unclassified", qos.Audio: "audio", qos.Video: "video",
	} {
		if got := class.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}
