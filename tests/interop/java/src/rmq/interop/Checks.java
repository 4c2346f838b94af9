package rmq.interop;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Named checks, each reported in one line: {@code pass name seconds} or {@code FAIL name: reason}.
 * Slow ones, which mostly wait, run beside the others.
 */
final class Checks {
    interface Body {
        void run() throws Exception;
    }

    private final String prefix;
    private final Map<String, Body> slow = new LinkedHashMap<>();
    private final Map<String, Body> others = new LinkedHashMap<>();

    private final Collection<String> only;

    /** Runs only the checks of these names, all when there is none. */
    Checks(String prefix, Collection<String> only) {
        this.prefix = prefix;
        this.only = only;
    }

    void slow(String name, Body body) {
        if (only.isEmpty() || only.contains(name)) {
            slow.put(name, body);
        }
    }

    void check(String name, Body body) {
        if (only.isEmpty() || only.contains(name)) {
            others.put(name, body);
        }
    }

    /** Runs all checks and ends the process: status 0 when all passed, 3 when some failed. */
    void runAndExit() throws Exception {
        boolean passed = run();
        System.out.flush();
        // Client threads are not daemons: leave without waiting for them.
        Runtime.getRuntime().halt(passed ? 0 : 3);
    }

    private boolean run() throws Exception {
        ExecutorService beside = Executors.newCachedThreadPool();
        List<Future<Boolean>> results = new ArrayList<>();
        slow.forEach((name, body) -> results.add(beside.submit(() -> one(name, body))));
        boolean passed = true;
        for (Map.Entry<String, Body> entry : others.entrySet()) {
            passed &= one(entry.getKey(), entry.getValue());
        }
        for (Future<Boolean> result : results) {
            passed &= result.get();
        }
        beside.shutdown();
        return passed;
    }

    private boolean one(String name, Body body) {
        long started = System.nanoTime();
        try {
            body.run();
        } catch (Throwable problem) {
            System.out.println("FAIL " + prefix + name + ": " + reason(problem));
            return false;
        }
        System.out.println(String.format("pass %s%s %.1fs", prefix, name, (System.nanoTime() - started) / 1e9));
        return true;
    }

    private static String reason(Throwable problem) {
        StringBuilder text = new StringBuilder(problem.toString());
        for (StackTraceElement frame : problem.getStackTrace()) {
            if (frame.getClassName().startsWith("rmq.interop.") && !frame.getClassName().contains("Checks")) {
                text.append(" at ").append(frame.getFileName()).append(':').append(frame.getLineNumber());
                break;
            }
        }
        String flat = text.toString().replaceAll("\\s+", " ");
        return flat.length() > 500 ? flat.substring(0, 500) + "..." : flat;
    }

    /** Waits until the condition holds; what it throws counts as "not yet" and is named when the time is over. */
    static void until(String what, int seconds, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        Exception last = null;
        while (System.nanoTime() < deadline) {
            try {
                if (condition.call()) {
                    return;
                }
            } catch (Exception notYet) {
                last = notYet;
            }
            Thread.sleep(20);
        }
        throw new AssertionError("not within " + seconds + " s: " + what + (last == null ? "" : " (" + last + ")"));
    }

    static void equal(String what, Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    static void yes(String what, boolean holds) {
        if (!holds) {
            throw new AssertionError("not so: " + what);
        }
    }
}
