package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// Nothing in the program looks for methods by names that are not constants: for what
// does, as text/template, the linker keeps every exported method of every type, which
// is a tenth of the program, more at the start and in memory. The method looked for
// here is one that nobody calls. Who is to blame stands in what
// go build -ldflags=-dumpdep prints, marked <ReflectMethod>.
func TestMethodsThatNobodyCallsAreNotLinked(t *testing.T) {
	t.Parallel()
	symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", os.Getenv(binaryVariable)).Output()
	if err != nil || !bytes.Contains(symbols, []byte(" reflect.Value.NumMethod\n")) {
		t.Fatalf("no symbols of the program: %v", err)
	}
	if bytes.Contains(symbols, []byte(" reflect.(*Value).MethodByName\n")) {
		t.Error("every exported method is linked in")
	}
}
