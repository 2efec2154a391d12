//go:build !linux

package sqldb_test

import (
	"errors"
	"os/exec"
)

func as(string, *exec.Cmd, ...string) error {
	return errors.New("the tests start database servers on Linux only")
}
