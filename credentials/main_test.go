package credentials_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the child process of the tests: the test binary started with
// "child MODE" as arguments.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

func child(mode string) {
	switch mode {
	case "env":
		dir, _ := os.Getwd()
		fmt.Printf("%s\n%s\n", dir, strings.Join(os.Environ(), "\n"))
	case "secret":
		fmt.Print("s3cret\r\n")
	case "two-lines":
		fmt.Print("a\nb\n\n")
	case "silent":
	case "fail":
		fmt.Print("s3cret")
		fmt.Fprint(os.Stderr, "s3cret")
		os.Exit(3)
	case "flood":
		for {
			if _, err := os.Stdout.Write(make([]byte, 4096)); err != nil {
				os.Exit(1)
			}
		}
	case "grandchild": // with another process that holds standard output open
		cmd := exec.Command(os.Args[0], "child", "sleep")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			os.Exit(1)
		}
		if err := os.WriteFile(os.Args[3], []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
			os.Exit(1)
		}
		fmt.Print("s3cret")
		time.Sleep(time.Hour)
	case "rotate":
		if err := rotate(os.Args[3], os.Args[4]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "sleep":
		time.Sleep(time.Hour)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
