package rig

import (
	"flag"
	"strconv"
)

// WaitTogether lets more tests run side by side than there are cores, unless -parallel was given: tests of clients spend
// nearly all of their time waiting. It belongs behind flag.Parse in TestMain.
func WaitTogether() {
	const sideBySide = 16
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(sideBySide))
	}
}
