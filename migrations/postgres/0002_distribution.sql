-- Where the extension Citus is installed, the tables are spread over its machines by bucket, all rows of a bucket on one.
-- Elsewhere this does nothing. A ledger that is older than the extension is spread by running these calls by hand.

do $$
declare
    spread text;
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_reference_table('prepaid.meta');
        perform create_reference_table('prepaid.tariffs');
        perform create_reference_table('prepaid.placements');
        perform create_distributed_table('prepaid.buckets', 'bucket');
        foreach spread in array array['accounts', 'balances', 'holds', 'lots', 'budgets', 'budget_windows', 'entries', 'keys'] loop
            perform create_distributed_table('prepaid.' || spread, 'bucket', colocate_with => 'prepaid.buckets');
        end loop;
    end if;
end
$$;
